/* poly.h - terms that take an object, or a sequence of objects and then work on each row.
 *
 * On sequences they map (pluck), choose rows (has_fields) or leave out rows that lack something (get_field). Where
 * errors of a row stand, and which of them leave the row out: README.md, "Object or sequence". The work is done in
 * object.c. */
#ifndef QUERY_POLY_H
#define QUERY_POLY_H

#include "query/pathspec.h"
#include "query/query_int.h"

typedef enum PolyKind {
        POLY_MAP,      /* each row gives a row */
        POLY_FILTER,   /* rows are kept or not */
        POLY_SKIP_MAP, /* rows that give nothing are left out */
} PolyKind;

typedef struct Poly Poly;
typedef struct PolyClass {
        const char *name;
        PolyKind kind;
        /* Evaluates the arguments but the first and sets poly->prepared. */
        Status (*prepare)(Poly *poly, Env *env);
        /* *ret stays V_NONE: the field is not there (SKIP_MAP), `poly->key` says which */
        Status (*apply)(Poly *poly, Env *env, Value object, Value *ret);
        bool takes_geometry; /* other pseudo-types are no objects to any of these terms */
} PolyClass;

struct Poly {
        const PolyClass *class;
        const Term *term;
        Args args;
        Frame *frame; /* where the arguments' variables are, when rows come later */
        bool prepared;
        bool each_row;         /* arguments are evaluated anew for each row */
        const Term *object_at; /* where the object at hand stands */
        Val *arguments;        /* merge; intersects and includes */
        PathSpec spec;         /* pluck, without, has_fields */
        Bytes key;             /* get_field, bracket */
};

Status poly_eval(Env *env, const Term *term, const PolyClass *class, Val *ret) MUST_USE;

#endif
