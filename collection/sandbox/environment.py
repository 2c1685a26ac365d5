"""The environment of workers: by a list of what they need, so that tokens and keys stay with the driver."""

import os
import re
from collections.abc import Mapping

EVERYWHERE = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV"
    r"|CONDA_PREFIX|PYTHON\w+|OMP_\w+|OPENBLAS_\w+|MKL_\w+|OPENCV_\w+|NPY_\w+|GLIBC_TUNABLES|MALLOC_\w+"
    r"|CUDA_VISIBLE_DEVICES|COVERAGE_\w+|MLST_NATIVE"
)
"""Where programs, libraries and temporary files are, the language, how many threads there are."""

ONLINE = re.compile(
    r"(?:http|https|ftp|all|no)_proxy|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS"
    r"|XDG_\w+|DENO_\w+",
    re.IGNORECASE,
)
"""What a worker with a network needs besides: proxies, certificates, where yt-dlp's helpers keep their caches."""

SECRET = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|(?:^|_)KEY(?:S|ID|FILE)?(?:_|$)", re.IGNORECASE)
"""Never handed on, whatever the lists above say."""


def plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of `variables` that every worker gets."""
    return _matching(variables, EVERYWHERE)


def online(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that a worker with a network gets besides."""
    return _matching(variables, ONLINE)


def _matching(variables: Mapping[str, str], wanted: re.Pattern[str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if wanted.fullmatch(name) and not SECRET.search(name)}


def replace_all(variables: Mapping[str, str]) -> None:
    """Make `variables` the environment of this process."""
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)
