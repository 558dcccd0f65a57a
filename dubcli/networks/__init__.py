"""The networks, each with its hyper-parameters beside it."""
