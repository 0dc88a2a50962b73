"""The hub's data path: forwards requests to the API server and looks only at what it must.

Heads are judged strictly, bodies are walked or counted, never decoded unless a road needs their content.
"""
