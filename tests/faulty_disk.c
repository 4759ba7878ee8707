/* Makes system calls on a file fail as planned, for a program that is started with this library in LD_PRELOAD.

   FAULT_PLAN is "CALL END STEP STEP ...", or several of these with ";" between: the calls of that name on files whose
   path ends in END take one step each. A step is "ok", "short" (only half is written) or the number of an error;
   "..." repeats the one before for ever, and after the last step all is well again.
   FAULT_MOUNTS is a file to read instead of /proc/self/mountinfo. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define MOST 8

static struct { char call[16], end[128], step[16]; const char *next; } plans[MOST];
static int count = -1;

static void read_plans(void)
{
	static char text[8192];
	count = 0;
	snprintf(text, sizeof text, "%s", getenv("FAULT_PLAN") ? getenv("FAULT_PLAN") : "");
	for (char *part = strtok(text, ";"); part && count < MOST; part = strtok(NULL, ";")) {
		int length = 0;
		if (sscanf(part, "%15s %127s%n", plans[count].call, plans[count].end, &length) == 2)
			plans[count++].next = part + length;
	}
}

static int ends_with(const char *path, const char *end)
{
	size_t length = strlen(path), wanted = strlen(end);
	return length >= wanted && !strcmp(path + length - wanted, end);
}

static const char *step_for(const char *call, const char *path)
{
	if (count < 0)
		read_plans();
	for (int i = 0; i < count; i++) {
		char word[16];
		int length = 0;
		if (strcmp(plans[i].call, call) || !ends_with(path, plans[i].end))
			continue;
		if (sscanf(plans[i].next, "%15s%n", word, &length) != 1)
			return "ok";
		if (strcmp(word, "...")) {
			strcpy(plans[i].step, word);
			plans[i].next += length;
		}
		return plans[i].step;
	}
	return "ok";
}

static const char *step_on(const char *call, int file)
{
	char link[64], path[4096];
	int before = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	ssize_t length = readlink(link, path, sizeof path - 1);
	errno = before;
	path[length < 0 ? 0 : length] = 0;
	return step_for(call, path);
}

#define REAL(name, result, ...) \
	static result (*real)(__VA_ARGS__); \
	if (!real) \
		real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FAIL(found) \
	do { \
		int number = atoi(found); \
		if (number) { \
			errno = number; \
			return -1; \
		} \
	} while (0)

ssize_t write(int file, const void *data, size_t size)
{
	REAL("write", ssize_t, int, const void *, size_t);
	const char *step = step_on("write", file);
	FAIL(step);
	return real(file, data, strcmp(step, "short") || size < 2 ? size : size / 2);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
	REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t);
	FAIL(step_on("pwrite", file));
	return real(file, data, size, at);
}

int fsync(int file)
{
	REAL("fsync", int, int);
	FAIL(step_on("fsync", file));
	return real(file);
}

int ftruncate64(int file, off64_t size)
{
	REAL("ftruncate64", int, int, off64_t);
	FAIL(step_on("ftruncate", file));
	return real(file, size);
}

int ftruncate(int file, off_t size)
{
	return ftruncate64(file, size);
}

/* By the name that the file gets. */
int rename(const char *from, const char *to)
{
	REAL("rename", int, const char *, const char *);
	FAIL(step_for("rename", to));
	return real(from, to);
}

int link(const char *from, const char *to)
{
	REAL("link", int, const char *, const char *);
	FAIL(step_for("link", to));
	return real(from, to);
}

int unlink(const char *path)
{
	REAL("unlink", int, const char *);
	FAIL(step_for("unlink", path));
	return real(path);
}

int open64(const char *path, int flags, ...)
{
	REAL("open64", int, const char *, int, ...);
	const char *mounts = getenv("FAULT_MOUNTS");
	va_list rest;
	va_start(rest, flags);
	mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	FAIL(step_for("open", path));
	return real(mounts && !strcmp(path, "/proc/self/mountinfo") ? mounts : path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return open64(path, flags, mode);
}
