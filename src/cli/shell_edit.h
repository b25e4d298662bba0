/* shell_edit.h - lines from a terminal: editing, history, completion. The only place that knows the editing library.
 *
 * The history file has one statement a line, newlines and backslashes escaped, the newest last, mode 0600. Each
 * statement is appended as it is entered, so that shells that run at the same time keep each other's. Not written: what
 * begins with a space, and what holds one of the words password, passwd, pass, secret, auth in any case.
 * Threads: the main thread; one editor at a time. */
#ifndef CLI_SHELL_EDIT_H
#define CLI_SHELL_EDIT_H

#include "base/arena.h"
#include "base/bytes.h"

/* What could stand at the cursor. */
typedef struct Candidate {
        const char *text;   /* replaces the word */
        const char *suffix; /* behind it, when it is the only one: a quote, a bracket */
} Candidate;
typedef struct Candidates {
        Arena *arena;
        Candidate *items;
        size_t count, capacity;
        size_t word_bytes; /* before the cursor: what is replaced */
} Candidates;
void candidates_add(Candidates *candidates, const char *text, const char *suffix);

typedef struct EditorHooks {
        void *ctx;
        /* `before`: the statement up to the cursor, earlier lines included. */
        void (*complete)(void *ctx, Bytes before, Candidates *candidates);
} EditorHooks;

typedef struct Editor Editor;
/* `history_path` NULL: none is kept. Warns, and goes on without, when the file cannot be used. */
MUST_USE Status editor_new(const EditorHooks *hooks, const char *history_path, Editor **ret_editor);
Editor *editor_free(Editor *editor);

typedef enum EditorEvent {
        EDITOR_LINE,
        EDITOR_CANCELLED, /* Ctrl-C */
        EDITOR_END,       /* Ctrl-D, or the terminal is gone */
} EditorEvent;
/* Reads one line (which has several when it comes from history or was pasted) into `line`, without its newline.
 * `before` is what has been entered of the statement already. */
MUST_USE Status editor_read(Editor *editor, const char *prompt, Bytes before, Buf *line, EditorEvent *ret_event);
/* Adds a statement to the history. */
void editor_remember(Editor *editor, Bytes statement);

/* May this be written to a file that stays? */
bool history_may_keep(Bytes statement);
/* One line of the file and back. */
MUST_USE Status history_escape(Bytes statement, Buf *out);
MUST_USE Status history_unescape(Bytes line, Buf *out);
/* $XDG_STATE_HOME/photondb/history, by default below ~/.local/state; NULL if there is no home. */
const char *history_path(Arena *arena);

#endif
