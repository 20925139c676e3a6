# SPDX-License-Identifier: Apache-2.0

"""Applying documents over HTTP: whole or not at all, and only what has changed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx

from opx.app import documents
from opx.core.decide.roles import Role
from opx.core.ingest.mapping import MappingRule
from opx.engine.documents import Checked, stored
from opx.engine.ports import StoredDocument

POLICY = "apiVersion: opx/v1\nkind: Policy\nmetadata: {name: default}\nspec: {}\n"


def apply(client: httpx.Client, world: Any, text: str, **headers: str) -> httpx.Response:
    return client.post(
        "/api/v1/documents",
        headers={**world.auth(Role.AUTHOR), **headers},
        content=text.encode(),
        params={"source": "shop.yaml"},
    )


def listed(client: httpx.Client, world: Any) -> dict[str, Any]:
    rows = client.get("/api/v1/documents", headers=world.auth()).json()["items"]
    return {row["id"]: row for row in rows}


def test_documents_are_applied_each_with_its_own_text(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Two documents of one text become two rows, each with its YAML and who applied it."""
    answer = apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")

    applied = answer.json()["applied"]
    assert [(one["id"], one["change"]) for one in applied] == [
        ("Service/shop/orders", "added"),
        ("Runbook/restart", "added"),
    ]
    rows = listed(client, world)
    assert set(rows) == {"Service/shop/orders", "Runbook/restart"}
    assert "kind: Service" in rows["Service/shop/orders"]["text"]
    assert "kind: Runbook" not in rows["Service/shop/orders"]["text"]
    assert rows["Runbook/restart"]["applied_by"] == "author"
    assert rows["Runbook/restart"]["applied_at"] == "2026-01-01T00:00:00.000Z"


def test_a_text_that_takes_long_to_check_holds_up_no_halt(client: httpx.Client, world: Any) -> None:
    """Whoever has to stop opx is answered while somebody's documents are still read."""
    begun, halted = threading.Event(), threading.Event()

    def slow(text: str, source: str, known: Sequence[StoredDocument]) -> Sequence[Checked]:
        begun.set()
        assert halted.wait(10)
        return documents.check(text, source, known)

    world.front.check = slow
    with ThreadPoolExecutor(1) as elsewhere:
        ask = {"headers": world.auth(), "content": POLICY.encode()}
        planned = elsewhere.submit(client.post, "/api/v1/documents/plan", **ask)
        assert begun.wait(10)
        answer = client.post(
            "/api/v1/automation/halt",
            headers=world.auth(Role.OPERATOR),
            json={"scope": "all", "reason": "now"},
        )
        halted.set()

    assert answer.status_code == 200
    assert planned.result().status_code == 200


def journalled(client: httpx.Client, world: Any) -> list[dict[str, Any]]:
    rows = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    return sorted(rows, key=lambda row: int(row["seq"]))


def test_what_is_unchanged_stays_as_it_was(client: httpx.Client, world: Any, made: Any) -> None:
    """Applying the same text again changes nothing and journals nothing."""
    apply(client, world, made.SERVICE)
    world.call(world.clock.advance(60_000))
    again = apply(client, world, f"---\n{made.SERVICE}---\n")

    assert [one["change"] for one in again.json()["applied"]] == ["unchanged"]
    assert listed(client, world)["Service/shop/orders"]["applied_at"] == "2026-01-01T00:00:00.000Z"
    assert [row["kind"] for row in journalled(client, world)] == ["document.applied"]


def test_another_layout_is_kept_as_the_same_content(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A remark above it and other spaces are kept, and are no change: hash and author stay."""
    [first] = apply(client, world, made.SERVICE).json()["applied"]
    world.call(world.clock.advance(60_000))
    text = "# a remark\n" + made.SERVICE.replace("name: orders", "name:  orders")
    again = client.post("/api/v1/documents", headers=world.auth(Role.ADMIN), content=text)

    [done] = again.json()["applied"]
    assert (done["change"], done["hash"]) == ("reformatted", first["hash"])
    row = listed(client, world)["Service/shop/orders"]
    assert row["text"] == text
    assert (row["applied_by"], row["applied_at"]) == ("author", "2026-01-01T00:00:00.000Z")
    last = journalled(client, world)[-1]
    assert (last["kind"], last["actor"]) == ("document.reformatted", "admin")


def test_a_remark_belongs_to_the_document_below_it(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Each document is kept with the remarks above it, so a neighbour's is no change of it."""
    apply(client, world, f"# one\n{made.SERVICE}---\n# two\n{made.RUNBOOK}")
    again = apply(client, world, f"# one\n{made.SERVICE}---\n# three\n{made.RUNBOOK}")

    assert [one["change"] for one in again.json()["applied"]] == ["unchanged", "reformatted"]
    rows = listed(client, world)
    assert rows["Service/shop/orders"]["text"].startswith("# one\napiVersion")
    assert rows["Runbook/restart"]["text"].startswith("# three\napiVersion")


def test_one_wrong_document_refuses_all(client: httpx.Client, world: Any, made: Any) -> None:
    """The error names file, line and the fix; the good document beside it is not applied."""
    wrong = made.RUNBOOK.replace("purpose:", "porpose:")
    answer = apply(client, world, f"{made.SERVICE}---\n{wrong}")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "bad_document")
    line = made.SERVICE.count("\n") + 1 + wrong.split("porpose")[0].count("\n") + 1
    assert (problem["source"], problem["line"]) == ("shop.yaml", line)
    assert problem["hint"] == "did you mean 'purpose'?"
    assert listed(client, world) == {}


def test_references_are_resolved_in_what_is_known(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """A service may depend on one that was applied before, not on one nobody knows."""
    payments = made.SERVICE.replace("orders", "payments") + "  dependsOn: [orders]\n"

    assert apply(client, world, payments).status_code == 422
    apply(client, world, made.SERVICE)
    assert apply(client, world, payments).status_code == 200
    services = client.get("/api/v1/services", headers=world.auth()).json()["items"]
    assert [(one["name"], one["depends_on"]) for one in services] == [
        ("orders", []),
        ("payments", ["orders"]),
    ]


def test_a_name_is_one_service_in_each_environment(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """The same name in two environments is two documents, and each depends on its own place."""
    prod = made.SERVICE.replace("environment: shop", "environment: prod")
    apply(client, world, made.SERVICE)
    assert apply(client, world, prod).json()["applied"][0]["change"] == "added"
    payments = prod.replace("orders", "payments") + "  dependsOn: [orders]\n"
    elsewhere = payments.replace("prod", "lab")

    assert set(listed(client, world)) == {"Service/shop/orders", "Service/prod/orders"}
    assert apply(client, world, payments).status_code == 200
    assert "no service in 'lab'" in apply(client, world, elsewhere).json()["detail"]


def test_a_runbook_is_recorded_as_one_persons_doing(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Applying what can be executed is marked as single-person; a service is not."""
    apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")

    rows = client.get("/api/v1/journal", headers=world.auth()).json()["items"]
    assert {row["subject"]: row["body"]["single_person"] for row in rows} == {
        "Service/shop/orders": False,
        "Runbook/restart": True,
    }


def test_a_plan_says_what_would_change(client: httpx.Client, world: Any, made: Any) -> None:
    """Document by document, with the fields that differ; it needs no more than reading."""
    apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")
    text = "---\n".join(
        (
            made.SERVICE.replace("9001", "9002") + "  owner: shop\n",
            "# a remark\n" + made.RUNBOOK,
            made.SERVICE.replace("orders", "store"),
        )
    )
    answer = client.post(
        "/api/v1/documents/plan", headers=world.auth(Role.VIEWER), content=text.encode()
    )
    bad = client.post("/api/v1/documents/plan", headers=world.auth(Role.VIEWER), content="kind: [")

    changed, reformatted, added = answer.json()["documents"]
    assert (changed["id"], changed["change"]) == ("Service/shop/orders", "changed")
    assert changed["fields"] == [
        {
            "field": "spec.target",
            "old": "http://127.0.0.1:9001#orders",
            "new": "http://127.0.0.1:9002#orders",
        },
        {"field": "spec.owner", "old": None, "new": "shop"},
    ]
    assert (reformatted["change"], reformatted["fields"]) == ("reformatted", [])
    assert (added["id"], added["change"], added["fields"]) == ("Service/shop/store", "added", [])
    assert bad.status_code == 422
    assert "9002" not in str(listed(client, world))


def test_a_plan_says_whether_a_policy_loosens(client: httpx.Client, world: Any) -> None:
    """By which fields opx may do more than it may now; a stricter policy by none."""
    text = POLICY.replace("{}", "{ceiling: sev1, cooldown: 1h}")
    plan = client.post("/api/v1/documents/plan", headers=world.auth(), content=text)
    stricter = POLICY.replace("{}", "{ceiling: sev5}")
    other = client.post("/api/v1/documents/plan", headers=world.auth(), content=stricter)

    assert [one["loosens"] for one in plan.json()["documents"]] == [["ceiling"]]
    assert [one["loosens"] for one in other.json()["documents"]] == [[]]


def test_a_document_can_be_deleted(client: httpx.Client, world: Any, made: Any) -> None:
    """It is gone, from what opx knows as well; the journal says who did it and what it was."""
    apply(client, world, made.SERVICE)
    was = listed(client, world)["Service/shop/orders"]["hash"]
    path = "/api/v1/documents/Service/shop/orders"
    headers = {**world.auth(Role.AUTHOR), "Idempotency-Key": "k"}
    done = client.delete(path, headers=headers)

    assert (done.status_code, done.json()) == (200, {"id": "Service/shop/orders", "hash": was})
    assert listed(client, world) == {}
    assert client.get("/api/v1/services", headers=world.auth()).json()["items"] == []
    last = journalled(client, world)[-1]
    assert (last["kind"], last["subject"], last["actor"], last["body"]["before"]) == (
        "document.deleted",
        "Service/shop/orders",
        "author",
        was,
    )
    assert client.delete(path, headers=headers).json() == done.json()
    assert client.delete(path, headers=world.auth(Role.AUTHOR)).status_code == 404


def test_what_others_depend_on_stays(client: httpx.Client, world: Any, made: Any) -> None:
    """A service is kept while another needs it, which is named; one elsewhere needs it not."""
    payments = made.SERVICE.replace("orders", "payments") + "  dependsOn: [orders]\n"
    prod = made.SERVICE.replace("environment: shop", "environment: prod")
    apply(client, world, f"{made.SERVICE}---\n{payments}---\n{prod}")
    where, auth = "/api/v1/documents/Service/shop", world.auth(Role.AUTHOR)
    refused = client.delete(f"{where}/orders", headers=auth)

    assert (refused.status_code, refused.json()["code"]) == (409, "refused")
    assert "Service/shop/payments" in refused.json()["detail"]
    assert client.delete("/api/v1/documents/Service/prod/orders", headers=auth).status_code == 200
    assert client.delete(f"{where}/payments", headers=auth).status_code == 200
    assert client.delete(f"{where}/orders", headers=auth).status_code == 200


def test_deleting_a_policy_may_be_loosening(client: httpx.Client, world: Any) -> None:
    """Back to laxer defaults takes who may grant; from a laxer policy an author will do."""
    path, author = "/api/v1/documents/Policy/default", world.auth(Role.AUTHOR)
    apply(client, world, POLICY.replace("{}", "{ceiling: sev5}"))
    refused = client.delete(path, headers=author)
    allowed = client.delete(path, headers=world.auth(Role.ADMIN))
    client.post(
        "/api/v1/documents",
        headers=world.auth(Role.ADMIN),
        content=POLICY.replace("{}", "{ceiling: sev1}"),
    )

    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    assert "ceiling" in refused.json()["detail"]
    assert allowed.status_code == 200
    assert client.delete(path, headers=author).status_code == 200


def test_what_cannot_be_read_is_listed_and_the_rest_holds(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """One bad row in the store: it is named with its line, the others are in force."""
    apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")
    rows = world.call(world.store.read(lambda tx: tx.find(StoredDocument)))
    book = next(row for row in rows if row.kind == "Runbook")
    bad = replace(book, text=book.text.replace("process.restart", "process.gone"), hash="other")
    world.call(world.store.write(lambda tx: tx.set(bad)))
    answer = client.get("/api/v1/documents", headers=world.auth()).json()

    [problem] = answer["problems"]
    assert (problem["id"], problem["line"]) == ("Runbook/restart", 7)
    assert "there is no action 'process.gone'" in problem["error"]
    assert problem["means"] == "it is neither proposed nor carried on with"
    assert len(answer["items"]) == 2
    status = client.get("/api/v1/status", headers=world.auth()).json()
    assert status["problems"] == answer["problems"]
    assert [one["name"] for one in status["services"]] == ["orders"]


def mapping(name: str, spec: str = "{service: [team]}") -> str:
    return f"apiVersion: opx/v1\nkind: Mapping\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def test_there_is_one_mapping_at_most(client: httpx.Client, world: Any) -> None:
    """A second is refused, in the same text or later, and the error names the first; the first
    can be changed, and once it is gone another may come."""
    both = apply(client, world, f"{mapping('a')}---\n{mapping('b')}").json()
    assert (both["code"], both["line"]) == ("bad_document", 7)
    assert "there is a Mapping already and it is named 'a'" in both["detail"]

    assert apply(client, world, mapping("b")).status_code == 200
    assert apply(client, world, mapping("b", "{service: [squad]}")).status_code == 200
    later = apply(client, world, mapping("a")).json()
    assert "it is named 'b'" in later["detail"]
    assert later["hint"] == "one holds at most: change that one, or delete it first"
    assert set(listed(client, world)) == {"Mapping/b"}

    client.delete("/api/v1/documents/Mapping/b", headers=world.auth(Role.AUTHOR))
    assert apply(client, world, mapping("a")).status_code == 200


def test_while_its_mapping_cannot_be_read_front_goes_by_the_usual_one(
    client: httpx.Client, world: Any
) -> None:
    """It is skipped and named, and what that means."""
    apply(client, world, mapping("ours"))
    assert world.front.catalogue().mapping == MappingRule(service=("team",))
    [row] = world.call(world.store.read(lambda tx: tx.find(StoredDocument)))
    bad = replace(row, text=row.text.replace("team", "9"), hash="other")
    world.call(world.store.write(lambda tx: tx.set(bad)))

    answer = client.get("/api/v1/documents", headers=world.auth()).json()

    [problem] = answer["problems"]
    assert (problem["id"], problem["line"]) == ("Mapping/ours", 4)
    assert problem["means"] == "signals are mapped as if there were none"
    assert world.front.catalogue().mapping == MappingRule()


def test_what_was_read_before_a_change_does_not_come_after_it(world: Any) -> None:
    """Somebody reads slowly while a mapping is applied: front goes by the new one."""

    async def check() -> None:
        read, gate = world.store.read, asyncio.Event()

        async def slow(fn: Any) -> Any:
            found = await read(fn)
            await gate.wait()
            return found

        world.front.store = SimpleNamespace(read=slow)
        before = asyncio.create_task(world.front.knowledge())
        await asyncio.sleep(0)
        [one] = documents.check(mapping("ours"), "a.yaml", [])
        await world.store.write(lambda tx: tx.set(stored(one, "ann", 0)))
        world.front.store = world.store
        after = asyncio.create_task(world.front.knowledge())
        for _ in range(10):
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(before, after)

    asyncio.run(check())
    assert world.front.catalogue().mapping == MappingRule(service=("team",))


def etag(client: httpx.Client, world: Any) -> str:
    return client.get("/api/v1/documents", headers=world.auth()).headers["etag"]


def test_documents_are_applied_only_to_those_that_were_read(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """With ``If-Match`` they are kept only while all are as they were read, or planned against,
    to the letter; what was refused has changed nothing, and what was done is not asked again."""
    empty = etag(client, world)
    plan = client.post("/api/v1/documents/plan", headers=world.auth(), content=made.SERVICE)
    assert plan.headers["etag"] == empty
    first = apply(client, world, made.SERVICE, **{"If-Match": empty, "Idempotency-Key": "k"})
    read = etag(client, world)
    apply(client, world, "# a remark\n" + made.SERVICE)
    late = apply(client, world, made.RUNBOOK, **{"If-Match": read})
    sent_twice = apply(client, world, made.SERVICE, **{"If-Match": empty, "Idempotency-Key": "k"})

    assert first.status_code == 200
    assert (late.status_code, late.json()["code"]) == (412, "stale")
    assert set(listed(client, world)) == {"Service/shop/orders"}
    assert (sent_twice.status_code, sent_twice.json()) == (200, first.json())
    now = apply(client, world, made.RUNBOOK, **{"If-Match": etag(client, world)})
    anyhow = apply(client, world, POLICY, **{"If-Match": "*"})
    assert (now.status_code, anyhow.status_code) == (200, 200)
    odd = apply(client, world, POLICY, **{"If-Match": f"W/{read}"})
    assert (odd.status_code, odd.json()["code"]) == (400, "bad_input")


def test_a_document_is_deleted_only_from_those_that_were_read(
    client: httpx.Client, world: Any, made: Any
) -> None:
    """Both forms of the route; what is not there is not found, whatever was read."""
    read = etag(client, world)
    apply(client, world, f"{made.SERVICE}---\n{made.RUNBOOK}")
    places = ("Service/shop/orders", "Runbook/restart")

    def delete(place: str, match: str) -> int:
        headers = {**world.auth(Role.AUTHOR), "If-Match": match}
        return client.delete(f"/api/v1/documents/{place}", headers=headers).status_code

    assert [delete(place, read) for place in places] == [412, 412]
    assert set(listed(client, world)) == set(places)
    assert [delete(place, etag(client, world)) for place in places] == [200, 200]
    assert delete("Runbook/restart", read) == 404


def test_what_is_not_text_is_refused(client: httpx.Client, world: Any) -> None:
    """Bytes that are no UTF-8 are the caller's mistake."""
    answer = client.post("/api/v1/documents", headers=world.auth(), content=b"\xff\xfe")

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")
