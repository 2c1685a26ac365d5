"""What everything that talks to the Hugging Face Hub has to know of its client."""

from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported by `__getattr__`

TRANSPORT_ERROR: type[Exception] = httpx.HTTPError
"""What the client's HTTP library raises. The client exports that library by this name, be it httpx or httpx2."""
