"""The road of kept requests: answers pass to the client first and to the store after, and come from it in the dark."""
