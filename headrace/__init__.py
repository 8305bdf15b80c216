"""What all services share: settings, Kafka clients, logging; the command line; the embedded stack."""

__version__ = "0.1.0"
