"""The contract: event types, topics, identity. Imports nothing of ours; everything else imports this."""
