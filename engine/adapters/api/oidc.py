"""Who somebody is, by an identity provider (OpenID Connect Core 1.0 section 3.1; RFC 7636; RFC 9207; RFC 9700).

- One provider, named by its issuer in the files: its endpoints and keys are what its own document says, fetched by our
  own client, without redirects.
- What belongs to one sign-in (state, nonce, PKCE verifier, where to go on) is in a cookie of that browser, under a MAC
  whose key lives as long as this run of the engine: nothing is kept here for those who never come back.
- A state is taken once. The code is redeemed once, with the verifier, from here.
- Signatures are of the asymmetric kinds alone: `none` and those with a shared secret are no choice that a token has.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from engine.adapters.api.problems import Problem
from engine.adapters.http_failures import why_failed
from engine.adapters.tls import client_context
from engine.adapters.waiting import WhenReady
from engine.config.listen import is_loopback
from engine.config.oidc import ALGORITHMS, OidcOptions
from engine.model.access import Grants
from engine.ports.access import PROVIDER_MARK, PROVIDER_SUFFIX
from engine.ports.clock import Clock

log = logging.getLogger("segmill.api")

BACK: Final = "/sign-in/oidc/back"
PENDING_S: Final = 600
"""How long somebody may take at the provider."""
KNOWN_S: Final = 3600.0
"""How long its document is believed before it is read again."""
REFRESH_S: Final = 30.0
"""A key that is not known makes its keys be read again, but not more often than this."""
MOST_ANSWER: Final = 1 << 20
MOST_TOKEN: Final = 64 * 1024
MOST_USED: Final = 10_000
MOST_CLAIM: Final = 1000


@dataclass(slots=True, frozen=True)
class Identity:
    """Who somebody is. `mark`: of issuer and subject, the same for ever. `name`: as they are called here."""

    name: str
    mark: str
    grants: Grants
    issuer: str


@dataclass(slots=True, frozen=True)
class Begun:
    """Where the browser goes, and the cookie that it comes back with."""

    location: str
    cookie: str


def refused(code: str, detail: str = "", status: int = 403) -> Problem:
    return Problem(status, code, detail)


class Provider:
    """Used by one loop."""

    def __init__(self, options: OidcOptions, site: Path, url: str, clock: Clock) -> None:
        """`url`: how people call the console. Where TLS files cannot be used, nobody signs in by it before they can
        (ADR 58). Raises ConfigError for settings that cannot be used.
        """
        self.options = options
        self._site = site
        self._back = f"{url}{BACK}"
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._document: dict[str, Any] = {}
        self._read_at = 0.0
        self._keys: KeySet | None = None
        self._keys_at = 0.0
        self._lock = asyncio.Lock()
        self._used: OrderedDict[str, int] = OrderedDict()
        self._client = WhenReady(self._made)

    def why_unready(self) -> str:
        """What of its TLS files is in the way, looked at again; '' for nothing. Any thread may ask."""
        return self._client.why_unready()

    def _made(self) -> httpx2.AsyncClient:
        site, tls = self._site, self.options.tls
        context: Any = True
        if self.options.issuer.startswith("https:"):
            context = client_context(
                ca=site / tls.ca if tls is not None and tls.ca else None,
                certificate=site / tls.certificate if tls is not None and tls.certificate else None,
                key=site / tls.key if tls is not None and tls.key else None,
                verify=tls is None or tls.verify,
            )
        return httpx2.AsyncClient(
            verify=context,
            timeout=self.options.timeout,
            # None is kept open: people sign in rarely, and its loop may end at any time.
            limits=httpx2.Limits(max_connections=8, max_keepalive_connections=0),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        if (client := self._client.made) is not None:
            await client.aclose()

    # -- to the provider, and back --------------------------------------------------------------

    async def begin(self, next_path: str) -> Begun:
        """Raises Problem where the provider does not answer."""
        document = await self._known()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.options.client,
            "redirect_uri": self._back,
            "scope": " ".join(self.options.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        until_s = self._clock.now_us() // 1_000_000 + PENDING_S
        told = {"s": state, "n": nonce, "v": verifier, "t": next_path, "u": until_s}
        endpoint = document["authorization_endpoint"]
        joint = "&" if urlsplit(endpoint).query else "?"
        return Begun(f"{endpoint}{joint}{urlencode(asked)}", self._sealed(told))

    async def end(self, cookie: str, given: Mapping[str, str]) -> tuple[Identity, str]:
        """Who came back with this cookie, and where they go on. `given`: the parameters that they came with.

        Raises Problem.
        """
        begun = self._opened(cookie)
        if begun is None or not hmac.compare_digest(given.get("state", "").encode(), begun["s"].encode()):
            raise refused("E572", "this sign-in was not begun in this browser, or too long ago")
        self._take(begun["s"], begun["u"])
        document = await self._known()
        self._check_sender(document, given.get("iss"))
        if given.get("error"):
            # Its text may be anything; the word is of a closed kind, or is not repeated.
            word = given["error"] if re.fullmatch(r"[a-z_]{1,40}", given["error"]) else "an error"
            raise refused("E572", f"the provider says: {word}")
        code = given.get("code", "")
        if not code:
            raise refused("E572", "the provider sent no code")
        tokens = await self._redeem(document, code, begun["v"])
        claims = await self._verified(document, str(tokens.get("id_token") or ""), begun["n"])
        claims = await self._with_more(document, claims, tokens.get("access_token"))
        return self._identity(claims), begun["t"]

    def _check_sender(self, document: dict[str, Any], iss: str | None) -> None:
        """RFC 9207: an answer of another provider is not taken for this one's."""
        must = document.get("authorization_response_iss_parameter_supported") is True
        if (iss is None and must) or (iss is not None and iss != self.options.issuer):
            raise refused("E572", "the answer is another provider's")

    # -- the cookie -----------------------------------------------------------------------------

    def _sealed(self, told: dict[str, Any]) -> str:
        text = base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode()
        return f"{text}.{self._mac(text)}"

    def _mac(self, text: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode()

    def _opened(self, cookie: str) -> dict[str, Any] | None:
        text, _, mac = cookie.partition(".")
        if not text or not hmac.compare_digest(mac.encode(), self._mac(text).encode()):
            return None
        told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        return told if told["u"] > self._clock.now_us() // 1_000_000 else None

    def _take(self, state: str, until_s: int) -> None:
        """Once. What has run out is forgotten, as its cookie is worth nothing any more."""
        now_s = self._clock.now_us() // 1_000_000
        while self._used and next(iter(self._used.values())) <= now_s:
            self._used.popitem(last=False)
        if state in self._used:
            raise refused("E572", "this sign-in was used before")
        if len(self._used) >= MOST_USED:
            raise Problem(503, "E480", "many sign in at this moment", {"retry-after": "60"})
        self._used[state] = until_s

    # -- what the provider says -----------------------------------------------------------------

    async def _known(self) -> dict[str, Any]:
        """Its document (OpenID Connect Discovery 1.0 section 4)."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._document and now - self._read_at < KNOWN_S:
                return self._document
            try:
                self._document = await self._read_document()
            except Problem:
                if not self._document:
                    raise
                log.warning("the identity provider's document cannot be read anew; what it said before counts")
            self._read_at = now
            return self._document

    async def _read_document(self) -> dict[str, Any]:
        found = await self._json("GET", f"{self.options.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.options.issuer:
            raise refused("E573", "its document is of another issuer", 502)
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._check_url(found.get(name))
        if "code" not in _strings(found.get("response_types_supported", ["code"])):
            raise refused("E573", "it does not offer the authorisation code flow", 502)
        return found

    def _check_url(self, url: object) -> None:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or not parts.hostname or parts.username is not None or parts.fragment:
            raise refused("E573", "its document names no such address", 502)
        plain = parts.scheme == "http" and is_loopback(parts.hostname) and self.options.issuer.startswith("http:")
        if parts.scheme != "https" and not plain:
            raise refused("E573", "an address of it is not https", 502)

    async def _redeem(self, document: dict[str, Any], code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "code_verifier": verifier,
            "client_id": self.options.client,
        }
        login = None
        if self.options.secret is not None:
            methods = _strings(document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]))
            if "client_secret_basic" in methods or "client_secret_post" not in methods:
                # RFC 6749 section 2.3.1: both parts are form-encoded first.
                quoted = [urlencode({"": part})[1:] for part in (self.options.client, self.options.secret)]
                login = httpx2.BasicAuth(*quoted)
                del form["client_id"]
            else:
                form["client_secret"] = self.options.secret
        return await self._json("POST", document["token_endpoint"], form=form, login=login)

    async def _with_more(self, document: dict[str, Any], claims: dict[str, Any], token: object) -> dict[str, Any]:
        """What the ID token does not say of the user, as some providers say it at the userinfo endpoint alone."""
        names = {self.options.claim.split(".")[0], self.options.user.split(".")[0]}
        if names <= claims.keys() or not isinstance(token, str) or "userinfo_endpoint" not in document:
            return claims
        self._check_url(document["userinfo_endpoint"])
        headers = {"authorization": f"Bearer {token}"}
        more = await self._json("GET", document["userinfo_endpoint"], headers=headers)
        if more.get("sub") != claims["sub"]:  # section 5.3.2
            raise refused("E572", "it speaks of two people")
        return {**{name: more[name] for name in names & more.keys()}, **claims}

    async def _json(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        login: httpx2.BasicAuth | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Raises Problem. What it sent is not repeated."""
        sent = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        content = None
        if form is not None:
            content, sent["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        if self._client.made is None:
            await asyncio.to_thread(self.why_unready)
        if (client := self._client.made) is None:
            # Which file, and what is wrong with it, is not for whoever opens the sign-in page.
            raise refused("E573", "the engine's TLS files for it cannot be used; its log says why", 502)
        request = client.build_request(method, url, content=content, headers=sent)
        received = bytearray()
        try:
            # The client's own time is for each piece: one that trickles would hold up all who sign in.
            async with asyncio.timeout(self.options.timeout):
                response = await client.send(request, stream=True, auth=login)
                try:
                    async for part in response.aiter_raw():
                        received += part
                        if len(received) > MOST_ANSWER:
                            raise refused("E573", "its answer is too long", 502)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise refused("E573", f"its answer takes longer than {self.options.timeout:g} s", 502) from None
        except httpx2.HTTPError as error:
            raise refused("E573", f"it does not answer: {why_failed(error)}", 502) from None
        if response.status_code != 200:
            # Of the token endpoint: the code or our secret is not what it was. Which, is its log's to say.
            raise refused("E572" if form is not None else "E573", f"it answers HTTP {response.status_code}", 502)
        try:
            found = json.loads(received)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise refused("E573", "its answer is not JSON", 502)
        return found

    # -- the ID token ---------------------------------------------------------------------------

    async def _verified(self, document: dict[str, Any], token: str, nonce: str) -> dict[str, Any]:
        """Its claims, when it is what section 3.1.3.7 asks for."""
        if not token or len(token) > MOST_TOKEN:
            raise refused("E572", "there is no ID token")
        offered = _strings(document.get("id_token_signing_alg_values_supported", ["RS256"]))
        algorithms: list[str] = [name for name in ALGORITHMS if name in offered]
        if not algorithms:  # an empty list is no list at all to the library, which then takes its own
            raise refused("E573", "it offers no signature that only it can make", 502)
        try:
            claims = await self._decoded(document, token, algorithms)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise refused("E572", f"its ID token is not good ({type(error).__name__})") from None
        self._check_claims(claims, nonce)
        return claims

    async def _decoded(self, document: dict[str, Any], token: str, algorithms: list[str]) -> dict[str, Any]:
        registry = JWSRegistry(algorithms=algorithms)
        keys = await self._signing_keys(document, again=False)
        try:
            return dict(jwt.decode(token, keys, algorithms=algorithms, registry=registry).claims)
        except (JoseError, ValueError):
            # Keys change without notice (section 10.1.1): look once more, where they may have.
            again = await self._signing_keys(document, again=True)
            if again is keys:
                raise
            return dict(jwt.decode(token, again, algorithms=algorithms, registry=registry).claims)

    async def _signing_keys(self, document: dict[str, Any], *, again: bool) -> KeySet:
        async with self._lock:
            now = self._clock.monotonic()
            age_s = now - self._keys_at
            if self._keys is not None and age_s < (REFRESH_S if again else KNOWN_S):
                return self._keys
            found = await self._json("GET", document["jwks_uri"])
            listed = found.get("keys")
            kept = [key for key in listed if _is_for_signing(key)] if isinstance(listed, list) else []
            if not kept:
                raise refused("E573", "it has no keys", 502)
            self._keys = KeySet.import_key_set({"keys": kept})
            self._keys_at = now
            return self._keys

    def _check_claims(self, claims: dict[str, Any], nonce: str) -> None:
        now_s, skew = self._clock.now_us() / 1e6, self.options.skew
        audience = _strings(claims.get("aud"))
        azp = claims.get("azp")
        ours = self.options.client
        checks = {
            "iss": claims.get("iss") == self.options.issuer,
            "aud": ours in audience,
            "azp": azp == ours if azp is not None or len(audience) > 1 else True,
            "exp": _is_time(claims.get("exp")) and claims["exp"] + skew > now_s,
            "iat": _is_time(claims.get("iat")) and claims["iat"] - skew <= now_s,
            "nbf": "nbf" not in claims or (_is_time(claims["nbf"]) and claims["nbf"] - skew <= now_s),
            "nonce": isinstance(claims.get("nonce"), str)
            and hmac.compare_digest(claims["nonce"].encode(), nonce.encode()),
            "sub": isinstance(claims.get("sub"), str) and 0 < len(claims["sub"]) <= 255,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise refused("E572", f"its ID token is not for this sign-in ({name})")

    def _identity(self, claims: dict[str, Any]) -> Identity:
        grants = self.options.grants_of(_strings(_within(claims, self.options.claim))[:MOST_CLAIM])
        if not grants:
            raise refused("E574", "none of its groups has a role here")
        called = _within(claims, self.options.user)
        name = (
            re.sub(r"[^a-z0-9._-]", "-", called.lower().split("@")[0]).strip("._-") if isinstance(called, str) else ""
        )
        if not name:
            raise refused("E572", "it does not say what the user is called")
        told = json.dumps([self.options.issuer, claims["sub"]]).encode()
        mark = PROVIDER_MARK + hashlib.sha256(told).hexdigest()
        return Identity(name[: 64 - len(PROVIDER_SUFFIX)] + PROVIDER_SUFFIX, mark, grants, self.options.issuer)


def _is_for_signing(key: object) -> bool:
    """Public, and not for something else: a shared secret among the keys would let a token be signed by anybody."""
    return isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def _within(claims: Mapping[str, Any], path: str) -> object:
    """`realm_access.roles`: also where a claim has that very name."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
