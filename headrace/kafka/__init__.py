"""Kafka clients that all services share."""
