"""The control service: HTTP, the one writer of commands, and the projection that answers questions."""
