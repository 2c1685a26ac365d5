"""What everything that talks to the Hugging Face Hub has to know of its client."""

from typing import cast

from huggingface_hub.errors import HfHubHTTPError

TRANSPORT_ERROR = cast(type[Exception], HfHubHTTPError.__mro__[1])
"""What the client's HTTP library raises: `HTTPError` of httpx or httpx2, by the version of `huggingface_hub`."""
