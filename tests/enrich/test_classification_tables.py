from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from subsight.enrich.classification import registry, rules, tables
from subsight.enrich.classification.categories import shipped
from subsight.enrich.classification.rules import Rule
from subsight.errors import ConfigurationError

TOLD = tomllib.loads(
    files("subsight.enrich.classification").joinpath("categories.toml").read_text(encoding="utf-8")
)
LISTS = ("inspection_categories", "decided", "labels", "services")


@pytest.mark.parametrize("section", [*LISTS, "protocols"])
def test_every_entry_is_of_the_closed_list(section: str) -> None:
    assert set(TOLD[section]) <= set(TOLD["categories"])


@pytest.mark.parametrize("section", [*LISTS, "same_service"])
def test_nothing_is_in_two_categories(section: str) -> None:
    names = [name.lower() for entries in TOLD[section].values() for name in entries]
    assert sorted(names) == sorted(set(names))


def test_the_applications_are_those_of_the_simulated_operator() -> None:
    mapping = files("subsight.sources.mappings").joinpath("subsight.toml").read_text(encoding="utf-8")
    applications = {told["name"] for told in tomllib.loads(mapping)["applications"].values()}
    assert set(TOLD["categories"].values()) == applications


def test_methods_and_confidences_are_of_their_lists() -> None:
    for method, confidence in shipped().methods.values():
        assert method in ("inspection", "rule", "port")
        assert confidence in ("sure", "likely", "guess")


def test_listed_services_are_registered() -> None:
    registered = {r.name.lower() for r in registry.read().registrations}
    assert set(shipped().services) - registered == set()
    assert shipped().reliable <= registered
    assert shipped().reliable <= set(shipped().services)


def test_lookups_have_a_category_of_their_own() -> None:
    assert [name for name, label in shipped().labels.items() if label.is_lookup and not label.category] == []


def test_the_rules_of_a_text() -> None:
    text = """
        [[rules]]
        name = " Billing "
        category = "Databases"
        port = [1521, "1525-1530"]
        protocol = ["tcp", 132]

        [[rules]]
        name = "Core"
        category = "Network services"
        host = ["10.1.0.0/16", "2001:db8:1::1"]
        protocol = "ospf"
        confidence = "sure"
    """
    v4 = "00000000000000000000ffff"
    v6 = "20010db8000100000000000000000001"
    assert rules.parse(text) == (
        Rule("Billing", "Databases", "likely", ((1521, 1521), (1525, 1530)), (6, 132)),
        Rule("Core", "Network services", "sure", (), (89,), ((f"{v4}0a010000", f"{v4}0a01ffff"), (v6, v6))),
    )
    assert rules.parse("") == ()


@pytest.mark.parametrize(
    ("second", "what", "found", "expected"),
    [
        ("category = 'Web'\nport = 1", "name of rule 2", "None", "the name of a service"),
        ("name = 'x'\ncategory = 'Films'\nport = 1", "category of rule 2", "'Films'", "one of Web, Video"),
        ("name = 'x'\ncategory = ['Web']\nport = 1", "category of rule 2", "['Web']", "one of Web"),
        ("name = 'x'\ncategory = 'Web'", "a condition of rule 2", "'x'", "a port, a protocol or a host"),
        ("name = 'x'\ncategory = 'Web'\nports = 1", "a key of rule 2", "'ports'", "name, category, port"),
        ("name = 'x'\ncategory = 'Web'\nport = 0", "port of rule 2", "0", "from 1 to 65535"),
        ("name = 'x'\ncategory = 'Web'\nport = '9-8'", "port of rule 2", "'9-8'", "the lower first"),
        ("name = 'x'\ncategory = 'Web'\nport = 70000", "port of rule 2", "70000", "from 1 to 65535"),
        ("name = 'x'\ncategory = 'Web'\nport = true", "port of rule 2", "True", "a number such as 8080"),
        ("name = 'x'\ncategory = 'Web'\nport = 1.5", "port of rule 2", "1.5", "a number such as 8080"),
        ("name = 'x'\ncategory = 'Web'\nport = []", "port of rule 2", "[]", "at least one port"),
        ("name = 'x'\ncategory = 'Web'\nprotocol = 'http'", "protocol of rule 2", "'http'", "tcp, udp"),
        ("name = 'x'\ncategory = 'Web'\nprotocol = 256", "protocol of rule 2", "256", "an IANA number"),
        ("name = 'x'\ncategory = 'Web'\nport = 8\nprotocol = 1", "port of rule 2", "protocol 1", "of tcp"),
        ("name = 'x'\ncategory = 'Web'\nhost = '10.0.0.1/8'", "host of rule 2", "10.0.0.1/8", "host bits"),
        ("name = 'x'\ncategory = 'Web'\nhost = 'example.com'", "host of rule 2", "example.com", "CIDR"),
        ("name = 'x'\ncategory = 'Web'\nhost = 7", "host of rule 2", "7", "as text"),
        ("name = 'x'\ncategory = 'Web'\nport = 1\nconfidence = 'high'", "confidence of rule", "high", "sure"),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_understood_is_named(second: str, what: str, found: str, expected: str) -> None:
    first = "[[rules]]\nname = 'Fine'\ncategory = 'Web'\nport = 1\n"
    with pytest.raises(ConfigurationError) as refused:
        rules.parse(f"{first}[[rules]]\n{second}\n")
    assert what in refused.value.what
    assert found in (refused.value.found or "")
    assert expected in (refused.value.expected or "")


@pytest.mark.parametrize("text", ["[[rules]", "rules = 3", "[[rule]]\nname = 'x'", "rules = [1]"])
def test_a_file_that_holds_no_rules_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        rules.parse(text)


def test_a_file_of_rules_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml cannot be read"):
        tables(str(tmp_path / "absent.toml"))


def test_the_digest_changes_with_each_thing_that_decides(tmp_path: Path) -> None:
    mine = tmp_path / "rules.toml"
    ports = tmp_path / "ports.csv"
    base = tables().digest
    assert tables().digest == base

    mine.write_text("# no rule yet\n", encoding="utf-8")
    assert tables(str(mine)).digest == base, "words of the file decide nothing"
    seen = {base}
    for text in (
        "[[rules]]\nname = 'A'\ncategory = 'Web'\nport = 1",
        "[[rules]]\nname = 'B'\ncategory = 'Web'\nport = 1",
        "[[rules]]\nname = 'B'\ncategory = 'Web'\nport = 1\nhost = '10.0.0.0/8'",
    ):
        mine.write_text(text, encoding="utf-8")
        seen.add(tables(str(mine)).digest)
    text = registry.compact(registry.read())
    ports.write_text(text.replace("\nhttp,80,tcp", "\nhttp,81,tcp"), encoding="utf-8")
    seen.add(tables(registry_file=str(ports)).digest)
    ports.write_text(text.replace("2025-03-28", "2025-03-29"), encoding="utf-8")
    seen.add(tables(registry_file=str(ports)).digest)
    assert len(seen) == 6


def test_a_registry_of_the_operator_is_used(tmp_path: Path) -> None:
    ports = tmp_path / "ports.csv"
    header = "Service Name,Port Number,Transport Protocol,Description"
    ports.write_text(f"{header}\nhttp,7-8,tcp,\nnovel,9,tcp,\n", encoding="utf-8")
    found = {
        row["key"]: (row["service"], row["category"], row["confidence"])
        for row in tables(registry_file=str(ports)).ports
        if row["key"] // 65536 == 6
    }
    assert found == {
        6 * 65536 + 7: ("http", "Web", "likely"),
        6 * 65536 + 8: ("http", "Web", "likely"),
        6 * 65536 + 9: ("novel", "Other registered", "likely"),
    }
