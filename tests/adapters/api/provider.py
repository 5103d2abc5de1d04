"""A strict identity provider for tests: real keys and signatures, PKCE, codes that are taken once; and every lie."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT, SECRET = "segmill", "s3cret/with:signs"
Claims = dict[str, Any]


@dataclass
class FakeProvider:
    """`lie` changes the claims before they are signed; `sign` makes the token of them in another way."""

    issuer: str = ""
    key: Any = None
    claims: Claims = field(
        default_factory=lambda: {"sub": "u-1", "preferred_username": "Anna", "groups": ["radiology"]}
    )
    lie: Callable[[Claims], None] = lambda claims: None
    sign: Callable[[Claims], str] | None = None
    document: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    userinfo: Claims | None = None
    extra_keys: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, bytes] = field(default_factory=dict)
    tells_iss: bool = False

    def __post_init__(self) -> None:
        self.rotate()

    def rotate(self) -> None:
        """Another key, and the old one is gone."""
        self.key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True)
        self.key.ensure_kid()

    def public_pem(self) -> bytes:
        return bytes(self.key.as_pem(private=False))

    # -- what it serves -------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, str], form: dict[str, str], headers: Any) -> tuple[int, Any, str]:
        """Status, JSON (or bytes), and where to, if anywhere."""
        self.asked.append(path)
        if path in self.broken:
            return 200, self.broken[path], ""
        match path:
            case "/.well-known/openid-configuration":
                return 200, self._document(), ""
            case "/keys":
                return 200, {"keys": [*self.extra_keys, self.key.as_dict(private=False)]}, ""
            case "/authorize":
                return 303, {}, self.authorize(query)
            case "/token":
                return self._token(form, headers.get("authorization", ""))
            case "/userinfo":
                return (200, self.userinfo, "") if self.userinfo is not None else (401, {}, "")
        return 404, {}, ""

    def _document(self) -> dict[str, Any]:
        made = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        if self.userinfo is not None:
            made["userinfo_endpoint"] = f"{self.issuer}/userinfo"
        if self.tells_iss:
            made["authorization_response_iss_parameter_supported"] = True
        return {**made, **self.document}

    def authorize(self, query: dict[str, str]) -> str:
        """Somebody signs in there at once: where they are sent back to."""
        assert query["response_type"] == "code" and query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256" and "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "session_state": "some words of its own"}
        if self.tells_iss:
            back["iss"] = self.issuer
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, Any, str]:
        login = base64.b64encode(urlencode({"": CLIENT})[1:].encode() + b":" + urlencode({"": SECRET})[1:].encode())
        if authorization != f"Basic {login.decode()}":
            return 401, {"error": "invalid_client"}, ""
        begun = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            begun is None
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != begun["redirect_uri"]
            or challenge.rstrip(b"=").decode() != begun["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}, ""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            **self.claims,
        }
        self.lie(claims)
        token = self.signed(claims) if self.sign is None else self.sign(claims)
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": token}, ""

    def signed(self, claims: Claims, **header: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, **header}, claims, self.key)

    # -- tokens that must not be believed -------------------------------------------------------

    def unsigned(self, claims: Claims) -> str:
        parts = [{"alg": "none"}, claims]
        head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return f"{head}.{body}."

    def by_shared_secret(self, claims: Claims, secret: bytes) -> str:
        """By hand: no library signs with a public key as if it were a secret."""
        parts = [{"alg": "HS256", "kid": self.key.kid}, claims]
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        mac = hmac.digest(secret, text.encode(), "sha256")
        return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def by_a_stranger(self, claims: Claims) -> str:
        other = RSAKey.generate_key(2048, private=True)
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, other)

    def with_its_own_key(self, claims: Claims) -> str:
        """A key in the token's own head (`jwk`), as in CVE-2018-0114."""
        other = ECKey.generate_key("P-256", private=True)
        head = {"alg": "ES256", "jwk": other.as_dict(private=False)}
        return jwt.encode(head, claims, other, algorithms=["ES256"])


@contextmanager
def provider() -> Iterator[FakeProvider]:
    made = FakeProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"])).decode()
            self.reply({name: values[0] for name, values in parse_qs(sent).items()})

        def reply(self, form: dict[str, str]) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, body, location = made.answer(parts.path, query, form, self.headers)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
