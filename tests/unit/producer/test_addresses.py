"""Which addresses are public. Ranges: IANA special-purpose registries."""

import pytest

from producer.addresses import AddressPolicy

PUBLIC = "1.1.1.1 8.8.8.8 93.184.216.34 2606:4700:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808".split()
FORBIDDEN = (
    "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 "
    "172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 "
    "239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 "
    "64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:a00:1::1 2002:808:808::1 fc00::1 "
    "fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 3fff::1 3ffe::1 localhost 127.1 0x7f.1"
).split()


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert AddressPolicy().why_forbidden(address) is None


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden(address: str) -> None:
    assert AddressPolicy().why_forbidden(address)


def test_allowed_ranges_hold_for_the_forms_that_carry_them() -> None:
    policy = AddressPolicy(["127.0.0.0/8", "fd00::/8"])
    assert policy.why_forbidden("127.0.0.1") is None
    assert policy.why_forbidden("::ffff:127.0.0.1") is None
    assert policy.why_forbidden("fd12::1") is None
    assert policy.why_forbidden("10.0.0.1") == "private"


def test_a_bad_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"300\.0\.0\.0/8"):
        AddressPolicy(["300.0.0.0/8"])
