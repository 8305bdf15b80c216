"""Servers of embeddings, as the environment names them: keys stay there, a definition says at most a name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import DependencyUnwell
from headrace.settings import Secret, Settings
from schemas.kb import Embedding

if TYPE_CHECKING:
    import openai

AZURE = "azure"
"""The endpoint's name of the resource at AZURE_OPENAI_ENDPOINT."""
NO_KEY = "none"
"""What a server that asks for no key is sent: the SDK can't do without."""


@dataclass(frozen=True)
class Endpoint:
    """`key_setting` is the variable to mend where the key is refused, `url_setting` where the address is wrong;
    `azure_version` is None for other servers."""

    key: Secret | None
    key_setting: str
    url_setting: str
    url: str | None = None
    azure_version: str | None = None
    organization: str | None = None
    project: str | None = None

    def connect(self, timeout_s: float) -> "openai.AsyncOpenAI":
        """One budget of attempts, and it is ours: the SDK's own retries would hide an outage from the status.

        Raises DependencyUnwell where no key is known. An organisation and a project that the SDK would take from the
        environment go to no other server than OpenAI's.
        """
        import openai

        if self.key is None:
            raise DependencyUnwell(
                "OpenAI", f"no key: set {self.key_setting} and restart control and the consumer", lasting=True
            )
        key = self.key.reveal()
        not_for_others: Any = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        if self.azure_version is not None:
            assert self.url
            return openai.AsyncAzureOpenAI(
                azure_endpoint=self.url,
                api_key=key,
                api_version=self.azure_version,
                max_retries=0,
                timeout=timeout_s,
                default_headers=not_for_others,
            )
        return openai.AsyncOpenAI(
            api_key=key,
            base_url=self.url,
            organization=self.organization,
            project=self.project,
            max_retries=0,
            timeout=timeout_s,
            default_headers=None if self.organization or self.project else not_for_others,
        )


def endpoint_of(embedding: Embedding, settings: Settings) -> Endpoint:
    """Where a profile is embedded; raises DependencyUnwell where the environment doesn't name it."""
    name = embedding.endpoint
    if name is None and settings.openai_api_key is None and settings.azure_openai_endpoint is not None:
        name = AZURE
    if name is None:
        no_key = None if settings.openai_base_url is None else Secret(NO_KEY)
        return Endpoint(
            settings.openai_api_key or no_key,
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            settings.openai_base_url,
            organization=settings.openai_organization,
            project=settings.openai_project,
        )
    if name == AZURE and settings.azure_openai_endpoint is not None:
        return Endpoint(
            settings.azure_openai_api_key,
            "AZURE_OPENAI_API_KEY",
            "AZURE_OPENAI_ENDPOINT",
            settings.azure_openai_endpoint,
            azure_version=settings.openai_api_version,
        )
    urls, keys = dict(settings.embedding_endpoints), dict(settings.embedding_keys)
    if name not in urls:
        raise DependencyUnwell(
            "OpenAI", f"no endpoint {name!r}: {how_to_name(name)}, and restart control and the consumer", lasting=True
        )
    key = keys.get(name, Secret(NO_KEY))
    return Endpoint(key, "HEADRACE_EMBEDDING_KEYS", "HEADRACE_EMBEDDING_ENDPOINTS", urls[name])


def endpoints(settings: Settings) -> frozenset[str]:
    """Names that a definition may give."""
    azure = {AZURE} if settings.azure_openai_endpoint is not None else set()
    return frozenset(azure | {name for name, _ in settings.embedding_endpoints})


def how_to_name(name: str) -> str:
    if name == AZURE:
        return "set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
    return f"add {name}=<base URL> to HEADRACE_EMBEDDING_ENDPOINTS"
