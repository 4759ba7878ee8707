"""Pure thinking: answers and entries in; summaries, forecasts, reports, bounds and findings out."""
