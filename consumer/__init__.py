"""The consumer: a Faust app that embeds chunks and indexes them into Weaviate."""
