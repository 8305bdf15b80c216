"""Texts to vectors: OpenAI (or a server that speaks its API) and a model on this machine."""

from headrace.embedding.base import Embedded, Embedder
from headrace.settings import Settings
from schemas.kb import Embedding

__all__ = ["Embedded", "Embedder", "embedder_for"]


def embedder_for(embedding: Embedding, settings: Settings) -> Embedder:
    """The embedder of a resolved profile; cheap to make, loads or connects when first used.

    Only what the profile needs is imported: the SDK takes a second, onnxruntime half a one.
    """
    if embedding.provider == "openai":
        from headrace.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(embedding, settings)
    from headrace.embedding.local import LocalEmbedder

    return LocalEmbedder(embedding, settings)
