"""api/openapi.yaml as a judge of what a server answers: strict, so that what is not documented is an error, and with a memory of
what it has seen, so that what is documented and never comes is one, too."""
import datetime
import json
import re
import uuid

import yaml

from service import ROOT

# What HTTP itself needs; every answer may have them.
TRANSPORT = {"date", "connection", "content-length", "content-type", "transfer-encoding"}


class Document:
    def __init__(self):
        self.tree = yaml.safe_load((ROOT / "api" / "openapi.yaml").read_text())
        self.paths = self.tree["paths"]
        self.seen = set()  # (path of the document, method, status)
        self.seen_fields = set()  # (schema, field)
        self.seen_events = set()  # (path, event, type)
        self.seen_values = set()  # (schema, field, value) of enumerations

    def resolve(self, node):
        while isinstance(node, dict) and "$ref" in node:
            path = node["$ref"]
            node = self.tree
            for part in path.removeprefix("#/").split("/"):
                node = node[part]
        return node

    def find(self, path):
        """The path of the document that a request's path belongs to."""
        for template in self.paths:
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
                return template
        return None

    # -- values --

    def check_value(self, schema, value, where, name=None):
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            schema = self.resolve(schema)
        known = {"type", "description", "example", "default", "required", "properties", "items", "maxItems", "enum", "pattern", "format",
                 "minimum", "maximum", "minLength", "maxLength", "nullable"}
        assert not set(schema) - known, f"{where}: words that are not checked: {set(schema) - known}"
        if value is None:
            assert schema.get("nullable"), f"{where}: null"
            return
        kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
        kind = schema["type"]
        assert isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool)), f"{where}: {value!r} is no {kind}"
        if "enum" in schema:
            assert value in schema["enum"], f"{where}: {value!r}"
            self.seen_values.add((where.rsplit(" ", 1)[-1], value))
        if kind == "object":
            assert not set(schema.get("required", [])) - set(value), f"{where}: misses {set(schema['required']) - set(value)}"
            for field, inner in value.items():
                assert field in schema["properties"], f"{where}: the field {field} is not documented"
                self.seen_fields.add((name, field))
                self.check_value(schema["properties"][field], inner, f"{where} {name}.{field}")
        elif kind == "array":
            assert len(value) <= schema.get("maxItems", len(value)), where
            for inner in value:
                self.check_value(schema["items"], inner, where)
        elif kind == "string":
            assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)), where
            assert re.search(schema.get("pattern", ""), value), f"{where}: {value!r}"
            self.check_format(schema.get("format"), value, where)
        elif kind in ("integer", "number"):
            assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{where}: {value}"

    @staticmethod
    def check_format(form, value, where):
        if form == "uuid":
            assert str(uuid.UUID(value)) == value, where
        elif form == "date-time":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value), f"{where}: {value}"
            datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        elif form == "uri":
            assert re.match(r"https?://[^/ ]+/", value), f"{where}: {value}"
        else:
            assert form in (None, "binary"), f"{where}: the format {form} is not checked"

    # -- answers --

    def check_headers(self, documented, headers, where):
        given = {k.lower(): v for k, v in headers.items()}
        assert len(given) == len(headers.items()), f"{where}: a header twice"
        wanted = {k.lower(): v for k, v in documented.items()}
        assert not set(given) - set(wanted) - TRANSPORT, f"{where}: undocumented headers {set(given) - set(wanted) - TRANSPORT}"
        assert not set(wanted) - set(given), f"{where}: missing headers {set(wanted) - set(given)}"
        for name, header in wanted.items():
            self.check_value(self.resolve(header)["schema"], given[name], f"{where} {name}")

    def check_answer(self, described, response, where, has_body=True, besides=None):
        """The body is `response.body`, or not there yet where it is a stream."""
        described = self.resolve(described)
        self.check_headers(described.get("headers", {}) | (besides or {}), response.headers, where)
        content = described.get("content", {})
        given = response.headers.get("Content-Type", "").split(";")[0]
        if not content:
            # a 304 may say what type the body has that it does not send
            assert response.body == b"" and (given == "" or response.status == 304), f"{where}: a body of type {given!r}"
            return None
        assert given in content, f"{where}: the content type {given!r} is not documented"
        if given == "text/event-stream":
            return content[given]["x-events"]
        if not has_body:
            assert response.body == b"" and int(response.headers["Content-Length"]) > 0, where
        elif given == "application/json" and content[given]["schema"].get("format") != "binary":
            self.check_value(content[given]["schema"], json.loads(response.body), where)
        else:
            assert response.body and len(response.body) == int(response.headers["Content-Length"]), where
        return None

    def check(self, method, path, response, cross_origin=False):
        """An answer of any path. Gives the events that may follow, where it is a stream."""
        template = self.find(path.split("?")[0])
        where = f"{method} {path}: {response.status}"
        besides = dict(self.tree["x-every-answer-headers"])
        if cross_origin:
            besides |= self.tree["x-cross-origin-headers"]
        if template is None:
            assert response.status == 404, where
            self.check_answer(self.tree["x-other-paths"], response, where, method != "HEAD", besides)
            return None
        item = self.paths[template]
        answered_as = "get" if method == "HEAD" and "text/event-stream" not in json.dumps(item.get("get")) else method.lower()
        status = str(response.status)
        if method == "OPTIONS":
            described = self.tree["x-options"].get(status)
        elif answered_as not in item:
            described = item["x-other-methods"] if status == "405" else None
        else:
            described = item[answered_as]["responses"].get(status)
        assert described, f"{where} is not documented"
        if method == "OPTIONS" or status == "405":
            methods = {m.upper() for m in item if m in ("get", "post", "delete", "put", "patch")} | {"OPTIONS"}
            if "GET" in methods and not template.endswith("/events"):
                methods.add("HEAD")
            assert {m.strip() for m in response.headers["Allow"].split(",")} == methods, where
        self.seen.add((template, answered_as, status))
        return self.check_answer(described, response, where, method != "HEAD", besides)

    def check_event(self, path, described, event):
        template = self.find(path.split("?")[0])
        where = f"an event of {template}: {event.text[:200]!r}"
        kind = event.type if event.name in (None, "error") else None
        found = [d for d in described if (d.get("event"), d.get("type")) == (event.name, kind)]
        assert len(found) == 1, where + " is not documented"
        assert {"always": event.id is not None, "never": event.id is None, "sometimes": True}[found[0]["id"]], where + ": its id"
        self.check_value(found[0]["schema"], event.data, where)
        self.seen_events.add((template, event.name, kind))
