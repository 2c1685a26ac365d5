"""What workers know of the driver's environment."""

import pytest

from collection.sandbox.environment import online, plain

SECRETS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("GITHUB_TOKEN", "DB_PASSWORD", "OPENAI_API_KEY", "SSH_AUTH_SOCK", "GOOGLE_APPLICATION_CREDENTIALS", "NETRC"),
    *("PYTHON_KEYRING_TOKEN", "XDG_SECRET", "MKL_API_KEY", "DENO_AUTH_TOKENS", "PIP_INDEX_URL", "ANYTHING_ELSE"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_no_worker_gets_a_secret(name: str) -> None:
    assert plain({name: "x"}) == online({name: "x"}) == {}


def test_workers_get_what_they_need() -> None:
    ours = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "PYTHONPATH": "a", "OMP_NUM_THREADS": "1", "TMPDIR": "/t"}
    proxies = {"https_proxy": "http://user:pass@host", "NO_PROXY": "a", "SSL_CERT_FILE": "/c"}
    assert plain({**ours, **proxies}) == ours, "a proxy may hold a password, and only who has a network needs it"
    assert online({**ours, **proxies}) == proxies
