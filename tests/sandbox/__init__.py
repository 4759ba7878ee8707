"""A local OpenRouter for tests: real HTTP, its own bill, and every fault on demand."""

from .account import INFERENCE_KEY, MANAGEMENT_KEY, Account
from .activity import ActivityRow
from .apikey import MISSING, ApiKey, Budget
from .call import Received
from .catalogue import Model
from .demo import DEMO_KEY, DEMO_MGMT_KEY, demo_account
from .exact import Raw
from .faults import Fault
from .reply import Reply, ReplyError, Stream, StreamError
from .server import Sandbox
from .unreachable import Unreachable
from .webhook import Webhook
from .workspace import Workspace

__all__ = [
    "DEMO_KEY",
    "DEMO_MGMT_KEY",
    "INFERENCE_KEY",
    "MANAGEMENT_KEY",
    "MISSING",
    "Account",
    "ActivityRow",
    "ApiKey",
    "Budget",
    "Fault",
    "Model",
    "Raw",
    "Received",
    "Reply",
    "ReplyError",
    "Sandbox",
    "Stream",
    "StreamError",
    "Unreachable",
    "Webhook",
    "Workspace",
    "demo_account",
]
