/* row.c - what a row must be, checked on every write, in RethinkDB's order and words. */
#include "table/table_int.h"

#include "value/json.h"
#include "value/key.h"

static Status shown(Arena *arena, Status (*make)(Bytes a, Bytes b, Bytes pk), Value a, Value b, Bytes pk)
{
        Bytes a_text = json_pretty_text(a, arena), b_text = json_pretty_text(b, arena);
        return make(a_text, b_text, pk);
}

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

static Status key_changed(Bytes old_row, Bytes new_row, Bytes pk)
{
        return status_new(ERR_LOGIC, "Primary key `%.*s` cannot be changed (`%.*s` -> `%.*s`).", S(pk), S(old_row),
                          S(new_row));
}

static Status key_appeared(Bytes old_row, Bytes new_row, Bytes pk)
{
        return status_new(ERR_LOGIC, "Primary key `%.*s` cannot be changed (%.*s -> %.*s)", S(pk), S(old_row),
                          S(new_row));
}

/* Finds what cannot be stored, wherever it is in the row. */
static Status check_storable(Value v)
{
        switch (value_type(v)) {
        case V_MINVAL:
        case V_MAXVAL: return status_new(ERR_LOGIC, "`r.minval` and `r.maxval` cannot be written to disk.");
        case V_ARRAY:
                if (value_count(v) > VALUE_ARRAY_LIMIT)
                        return status_new(ERR_LOGIC, "Array too large for disk writes (limit 100,000 elements).");
                for (size_t i = 0; i < value_count(v); i++) {
                        Value item = value_at(v, i);
                        if (unlikely(item.depth > 0 || value_is(item, V_MINVAL) || value_is(item, V_MAXVAL)))
                                TRY(check_storable(item));
                }
                return ST_OK;
        case V_OBJECT:
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        Value field = value_field_at(v, i, &key);
                        if (unlikely(field.depth > 0 || value_is(field, V_MINVAL) || value_is(field, V_MAXVAL)))
                                TRY(check_storable(field));
                }
                if (unlikely(value_bytes_are(value_get_str(v, "$reql_type$"), "LITERAL")))
                        return status_new(ERR_LOGIC,
                                          "Stray literal keyword found: literal is only present inside merge and "
                                          "cannot nest inside another literal.");
                return ST_OK;
        default: return ST_OK;
        }
}

Status row_check(const TableInfo *info, Bytes key_bytes, Value old_row, Value new_row, Arena *arena)
{
        Bytes pk = info->primary_key, new_key;
        if (value_is(new_row, V_NULL))
                return ST_OK;
        if (unlikely(!value_is_object(new_row))) {
                Bytes text = json_pretty_text(new_row, arena);
                return status_new(ERR_LOGIC, "Inserted value must be an OBJECT (got %s):\n%.*s",
                                  value_type_name(new_row), S(text));
        }
        Value key = value_get(new_row, pk);
        if (unlikely(value_is(key, V_NONE))) {
                Bytes text = json_pretty_text(new_row, arena);
                return status_new(ERR_LOGIC, "Inserted object must have primary key `%.*s`:\n%.*s", S(pk), S(text));
        }
        if (unlikely(value_type(new_row) != V_OBJECT)) { /* a time whose own field is the primary key */
                Bytes text = json_pretty_text(new_row, arena);
                return status_new(ERR_LOGIC, "Inserted value must be an OBJECT (got %s):\n%.*s",
                                  value_type_name(new_row), S(text));
        }
        if (value_is(old_row, V_NULL)) {
                TRY(key_encode_primary(key, arena, &new_key));
                if (unlikely(!bytes_equal(new_key, key_bytes)))
                        return shown(arena, key_appeared, old_row, new_row, pk);
        } else if (unlikely(!value_equal(value_get(old_row, pk), key))) {
                return shown(arena, key_changed, old_row, new_row, pk);
        }
        if (unlikely(value_too_deep(new_row)))
                return status_new(ERR_LOGIC, "Document nested too deeply (limit %d levels).", VALUE_MAX_DEPTH);
        return check_storable(new_row);
}
