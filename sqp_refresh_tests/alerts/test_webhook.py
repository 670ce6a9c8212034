"""Test what a receiver gets in one attempt, and what the result is of its answer."""

import base64
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.alerts import heartbeat, webhook
from sqp_refresh.alerts.address import is_public
from sqp_refresh.alerts.outbox import Alert, DeliveryResult
from sqp_refresh.model.events import Event
from sqp_refresh.settings import Settings
from sqp_refresh_tests.alerts.receiver import receiving

ALERT = Alert(
    Event.FAILED, "daily_sqp_data", "naïve: BigQuery is away", "", datetime.now(UTC), 42, "run-1"
)
SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four!").decode()


def post(url: str, event_id: str = "alert_1") -> DeliveryResult:
    return webhook.post(Settings.read(), url, event_id, ALERT.payload)


@pytest.mark.parametrize(
    ("secret", "verifier"),
    [
        (SECRET, standardwebhooks.Webhook(SECRET)),
        ("a plain secret", standardwebhooks.Webhook(b"a plain secret")),
    ],
)
def test_a_receiver_gets_the_fields_of_the_guide_and_can_verify_who_sent_them(
    receiver, monkeypatch, secret, verifier
):
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", secret)

    assert post(receiver.url()) == DeliveryResult(status=204)

    (request,) = receiver.requests
    assert verifier.verify(request.body, request.headers) == {
        "table_name": "daily_sqp_data",
        "error_message": "naïve: BigQuery is away",
        "audit_log_id": 42,
        "event": "refresh.failed",
        "severity": "high",
        "occurred_at": ALERT.at.isoformat(),
        "run_id": "run-1",
    }
    assert request.headers["content-type"] == "application/json"
    for tampered in (request.body.replace(b"42", b"43"), request.body + b" "):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            verifier.verify(tampered, request.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(request.body, request.headers | {"webhook-id": "alert_2"})


def test_without_a_secret_nothing_is_signed(receiver):
    post(receiver.url())

    assert "webhook-signature" not in receiver.requests[0].headers
    assert receiver.ids == ["alert_1"]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/200", DeliveryResult(status=200)),
        ("/500", DeliveryResult("answered 500", 500)),
        ("/404", DeliveryResult("answered 404", 404)),
        ("/410", DeliveryResult("answered 410: it wants no more of this", 410, is_final=True)),
        ("/302", DeliveryResult("answered 302; a redirect is not followed", 302)),
    ],
)
def test_what_a_receiver_answers_is_what_came_of_it(receiver, path, answer):
    assert post(receiver.url(path)) == answer
    assert [request.path for request in receiver.requests] == [path]


@pytest.mark.parametrize("path", ["/never", "/drip"])
def test_a_receiver_that_does_not_come_to_an_end_is_left_at_the_deadline(
    receiver, monkeypatch, path
):
    monkeypatch.setattr(webhook, "DEADLINE_S", 0.5)

    assert post(receiver.url(path)) == DeliveryResult("did not answer in time")
    assert len(receiver.requests) == 1


def test_nobody_at_the_address_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_ALLOW_PRIVATE", "true")

    refused, unknown = post("http://127.0.0.1:1/"), post("http://nowhere.invalid/")

    assert str(refused.error).startswith("cannot be reached: [Errno 111]")
    assert unknown.error == "cannot be reached: no address of nowhere.invalid is known"


def test_credentials_and_query_of_the_url_reach_the_receiver(receiver):
    post(f"http://us%40er:p%3Aw@127.0.0.1:{receiver.port}/204?token=t")

    (request,) = receiver.requests
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'us@er:p:w').decode()}"
    assert request.path == "/204?token=t"


# -- where it may go -------------------------------------------------------------------------------


def test_an_address_that_is_not_public_is_refused_by_default(receiver, monkeypatch):
    monkeypatch.delenv("REFRESH_WEBHOOK_ALLOW_PRIVATE")

    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "169.254.169.254"):
        answer = post(f"http://{host}:{receiver.port}/204")
        assert "is not a public address; set REFRESH_WEBHOOK_ALLOW_PRIVATE" in str(answer.error)
    assert receiver.requests == []


PRIVATE = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]


@given(network=st.sampled_from(PRIVATE), offset=st.integers(min_value=0))
def test_no_address_of_a_private_network_is_public_however_it_is_written(network, offset):
    block = ipaddress.ip_network(network)
    address = block[offset % block.num_addresses]

    assert not is_public(str(address))
    if address.version == 4:
        number = int(address)
        for embedded in (
            0xFFFF << 32 | number,
            0x64FF9B << 96 | number,
            0x2002 << 112 | number << 80,
            0x2606_4700 << 96 | 0x5EFE << 32 | number,
            0x2606_4700 << 96 | 0x0200_5EFE << 32 | number,
            0x2002_0808_0808 << 80 | 0x5EFE << 32 | number,
        ):
            assert not is_public(str(ipaddress.IPv6Address(embedded)))


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "168.63.129.15", "2606:4700::1111", "64:ff9b::808:808"),
        *("2002:808:808::1", "2606:4700::5efe:8.8.8.8"),
    ],
)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let a name server give one answer after another; return the names that it looks up."""
    lookups: list[str] = []
    getaddrinfo = socket.getaddrinfo

    def resolve(host: str, port: int, *more: int, **named: int):
        if host[0].isdigit():
            return getaddrinfo(host, port, *more, **named)
        lookups.append(host)
        addresses = answers[min(len(lookups), len(answers)) - 1]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return lookups


def test_a_name_with_one_private_address_among_others_is_refused(receiver, monkeypatch):
    monkeypatch.delenv("REFRESH_WEBHOOK_ALLOW_PRIVATE")
    resolve_to(monkeypatch, ["8.8.8.8", "127.0.0.1"])

    answer = post(f"http://receiver.example:{receiver.port}/204")

    assert str(answer.error).startswith("receiver.example is at 127.0.0.1, which is not a public")
    assert receiver.requests == []


def test_the_connection_goes_to_the_address_that_was_checked(receiver, monkeypatch):
    lookups = resolve_to(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])

    assert post(f"http://receiver.example:{receiver.port}/204") == DeliveryResult(status=204)

    assert lookups == ["receiver.example"]
    assert receiver.requests[0].headers["host"] == f"receiver.example:{receiver.port}"


@pytest.mark.parametrize(
    ("host", "looked_up"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("empfänger_1.❤.example", "xn--empfnger_1-t5a.xn--qei.example"),
        ("日本.example", "xn--wgv71a.example"),
    ],
)
def test_a_host_that_is_not_ascii_is_encoded_as_browsers_do(receiver, monkeypatch, host, looked_up):
    lookups = resolve_to(monkeypatch, ["127.0.0.1"])

    assert post(f"http://{host}:{receiver.port}/é/204?q=ü") == DeliveryResult(status=204)

    assert lookups == [looked_up]
    (request,) = receiver.requests
    assert request.headers["host"] == f"{looked_up}:{receiver.port}"
    assert request.path == "/%C3%A9/204?q=%C3%BC"


def test_a_host_that_is_no_name_is_said_to_be_none(receiver):
    assert post("http://a\u2615\u0378.example/") == DeliveryResult(
        "has a host name that is none", is_final=True
    )
    unknown = str(post(f"http://{'ü' * 80}.example/").error)
    assert unknown.startswith("cannot be reached: no address of")


def test_digits_that_are_not_ascii_are_an_address(receiver, monkeypatch):
    monkeypatch.delenv("REFRESH_WEBHOOK_ALLOW_PRIVATE")

    answer = post(f"http://\uff11\uff12\uff17\u3002\uff10.0.1:{receiver.port}/204")

    assert str(answer.error).startswith("127.0.0.1 is not a public address")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a certificate for receiver.example, with its key, signed by itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.DNSName("receiver.example")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name.value)])
    today = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "receiver.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(signed.public_bytes(pem) + private)
    return file


def test_a_certificate_must_be_for_the_name_although_an_address_is_connected_to(
    monkeypatch, certificate
):
    monkeypatch.setenv("REFRESH_WEBHOOK_ALLOW_PRIVATE", "true")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolve_to(monkeypatch, ["127.0.0.1"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with receiving(tls) as receiver:
        right, wrong = (
            post(f"https://{name}:{receiver.port}/204")
            for name in ("receiver.example", "another.example")
        )
        assert len(receiver.requests) == 1

    assert right == DeliveryResult(status=204)
    assert "certificate verify failed: Hostname mismatch" in str(wrong.error)


# -- secrets ---------------------------------------------------------------------------------------


def test_while_a_secret_is_changed_receivers_accept_by_either(receiver, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET_PREVIOUS", "the one before")

    post(receiver.url())

    (request,) = receiver.requests
    for key in (SECRET, b"the one before"):
        assert standardwebhooks.Webhook(key).verify(request.body, request.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(b"another").verify(request.body, request.headers)


# -- the heartbeat ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_well", "called"),
    [
        ("/200/uuid", True, "/200/uuid"),
        ("/uuid/?rid=1", False, "/uuid/fail?rid=1"),
        ("", False, "/fail"),
    ],
)
def test_the_heartbeat_is_a_get_that_says_whether_all_is_well(
    receiver, monkeypatch, path, is_well, called
):
    monkeypatch.setenv("REFRESH_HEARTBEAT_URL", receiver.url(path))

    assert heartbeat.beat(Settings.read(), is_well=is_well).error is None

    ((method, asked),) = [(request.method, request.path) for request in receiver.requests]
    assert (method, asked) == ("GET", called)


def test_a_heartbeat_that_nobody_answers_costs_little_and_shows_no_secret(receiver, monkeypatch):
    monkeypatch.setattr(heartbeat, "DEADLINE_S", 0.3)
    monkeypatch.setenv("REFRESH_HEARTBEAT_URL", receiver.url("/secret/never"))
    assert heartbeat.beat(Settings.read(), is_well=True).error == "did not answer in time"

    monkeypatch.delenv("REFRESH_WEBHOOK_ALLOW_PRIVATE")
    error = heartbeat.beat(Settings.read(), is_well=True).error
    assert error and "is not a public address" in error
    assert "secret" not in error
