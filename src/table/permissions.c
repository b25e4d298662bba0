/* permissions.c - see permissions.h. */
#include "table/permissions.h"

#include "value/json.h"

static const struct {
        const char *name;
        uint8_t bit;
} permissions[] = {
        /* in order of name */
        {"config", PERMIT_CONFIG},
        {"connect", PERMIT_CONNECT},
        {"read", PERMIT_READ},
        {"write", PERMIT_WRITE},
};

static Status wrong(const char *before, const char *name, const char *after, Value got, Arena *arena)
{
        Bytes text = json_pretty_text(got, arena);
        return status_new(ERR_OP_FAILED, "%s%s%s, got %.*s.", before, name, after, (int)text.size,
                          (const char *)text.data);
}

static Status parse_one(Value object, size_t which, bool at_server, Arena *arena, PermissionsChange *change)
{
        uint8_t bit = permissions[which].bit;
        Value v = value_get_str(object, permissions[which].name);
        if (value_is(v, V_NONE))
                return ST_OK;
        if (bit == PERMIT_CONNECT && !at_server)
                return status_new(ERR_OP_FAILED, "The `connect` permission is only valid at the global scope.");
        if (!value_is(v, V_BOOL) && !value_is(v, V_NULL))
                return wrong("Expected a boolean or null for `", permissions[which].name, "`", v, arena);
        change->mentioned |= bit;
        if (value_is(v, V_NULL))
                return ST_OK;
        change->to.said |= bit;
        if (value_truthy(v))
                change->to.yes |= bit;
        return ST_OK;
}

Status permissions_parse(Value object, bool at_server, Arena *arena, PermissionsChange *ret_change)
{
        static const uint8_t order[] = {2, 3, 0, 1}; /* as RethinkDB looks at them: which error comes first */
        PermissionsChange change = {0};
        if (value_type(object) != V_OBJECT)
                return wrong("Expected an object", "", "", object, arena);
        for (size_t i = 0; i < ELEMENTS(order); i++)
                TRY(parse_one(object, order[i], at_server, arena, &change));
        const char *others = NULL;
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes key;
                bool known = false;
                (void)value_field_at(object, i, &key);
                for (size_t k = 0; k < ELEMENTS(permissions); k++)
                        known |= bytes_equal(key, BYTES_STR(permissions[k].name));
                if (!known)
                        others = arena_printf(arena, "%s%s%.*s", others ? others : "", others ? "`, `" : "",
                                              (int)key.size, (const char *)key.data);
        }
        if (others)
                return status_new(ERR_OP_FAILED, "Unexpected key(s) `%s`.", others);
        *ret_change = change;
        return ST_OK;
}

Permissions permissions_change(Permissions old, PermissionsChange change)
{
        return (Permissions){
                .said = (uint8_t)((old.said & ~change.mentioned) | change.to.said),
                .yes = (uint8_t)((old.yes & ~change.mentioned) | change.to.yes),
        };
}

Value permissions_value(Permissions p, Field fields[4])
{
        size_t count = 0;
        for (size_t i = 0; i < ELEMENTS(permissions); i++)
                if (p.said & permissions[i].bit)
                        fields[count++] =
                                (Field){BYTES_STR(permissions[i].name), value_bool((p.yes & permissions[i].bit) != 0)};
        return count ? value_object_sorted(fields, count) : value_null();
}

const char *permissions_lacking(unsigned allowed, unsigned what)
{
        if (!(allowed & PERMIT_READ))
                allowed &= ~(unsigned)PERMIT_WRITE;
        unsigned lacking = what & ~allowed;
        if (lacking & PERMIT_READ)
                return "read";
        if (lacking & PERMIT_WRITE)
                return "write";
        if (lacking & PERMIT_CONFIG)
                return "config";
        return lacking & PERMIT_CONNECT ? "connect" : NULL;
}
