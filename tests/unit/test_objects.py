"""What is written to Weaviate is what its own client would write."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weaviate.collections.batch.grpc_batch import _BatchGRPC
from weaviate.collections.classes.batch import _BatchObject
from weaviate.proto.v1 import batch_pb2
from weaviate.util import _ServerVersion

from headrace.objects import Object, request_of

ID = "6f2a1c9e-0f5b-5c1d-9a44-0b1f2f3e4d5c"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
PROPERTIES = st.dictionaries(
    st.sampled_from(["text", "title", "heading_path", "born", "url"]),
    TEXTS | st.integers(-(2**53), 2**53) | st.lists(TEXTS, max_size=3),
)


def clients_own(objects: list[Object]) -> bytes:
    batch = _BatchGRPC(_ServerVersion.from_string("1.39.0"), None, None)
    given = [
        _BatchObject(
            collection="C", vector=vector.tolist(), uuid=object_id, properties=dict(properties), tenant="kb",
            references=None, index=index,
        )
        for index, (object_id, properties, vector) in enumerate(objects)
    ]  # fmt: skip
    return bytes(batch_pb2.BatchObjectsRequest(objects=batch.grpc_objects(given)).SerializeToString(deterministic=True))


@given(st.lists(PROPERTIES, max_size=3))
def test_the_request_is_the_clients_own(properties: list[dict[str, object]]) -> None:
    vectors = np.random.default_rng(1).standard_normal((len(properties), 5), dtype=np.float32)
    objects: list[Object] = [(ID, each, vector) for each, vector in zip(properties, vectors, strict=True)]
    assert request_of("C", "kb", objects).SerializeToString(deterministic=True) == clients_own(objects)


@pytest.mark.parametrize("dtype", [">f4", "<f8"])
def test_a_vector_is_written_as_little_endian_float32(dtype: str) -> None:
    (made,) = request_of("C", "kb", [(ID, {}, np.array([1.5, -2.0], dtype=dtype))]).objects
    assert np.frombuffer(made.vector_bytes, dtype="<f4").tolist() == [1.5, -2.0]
