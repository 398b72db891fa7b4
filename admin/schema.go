package admin

import (
	"net/http"
	"strings"

	"sluice/admin/inspect"
)

// furtherSchemas belong to no kind but are served.
var furtherSchemas = map[string]string{
	"upstream_hash_vars_schema":              `{"type":"string","pattern":"` + inspect.HashVars + `"}`,
	"upstream_hash_header_schema":            `{"type":"string","pattern":"` + inspect.HashHeader + `"}`,
	"upstream_hash_vars_combinations_schema": `{"type":"string"}`,
}

// schemaGet answers GET schema/{name}.
func (h *Handler) schemaGet(name string) answer {
	s := h.schemas[name]
	if s == nil {
		return fail(http.StatusBadRequest, "not found schema: %s", name)
	}
	return answer{http.StatusOK, s.Text()}
}

// validateSchema answers POST schema/validate/{kind}: the schema and nothing else.
func (h *Handler) validateSchema(_ http.ResponseWriter, r *http.Request, p string) answer {
	name, _, _ := strings.Cut(strings.TrimPrefix(p, root+"/schema/validate/"), "/")
	k := h.kinds[name]
	if k == nil {
		return fail(http.StatusNotFound, "Unsupported resource type: %s", name)
	}
	body, has, bad := decodeBody(r)
	if bad != nil {
		return *bad
	}
	if !has {
		return fail(http.StatusBadRequest, "wrong type: expected object, got nil")
	}
	if k.schema == nil {
		return answer{code: http.StatusOK}
	}
	if err := k.schema.Validate(body); err != nil {
		return fail(http.StatusBadRequest, "%s", err.Error())
	}
	return answer{code: http.StatusOK}
}
