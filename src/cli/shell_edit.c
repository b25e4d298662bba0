/* shell_edit.c - a face over libedit. See shell_edit.h.
 *
 * Keys are read here and not by the library, so that Ctrl-C, the end of the program and a new size of the terminal are
 * events between two keys and no jumps out of it. SIGWINCH is blocked but for while a key is awaited. */
#define _GNU_SOURCE /* ppoll */
#include "cli/shell_edit.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "cli/cell.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum {
        HISTORY_MAX_LINES = 5000,
        HISTORY_MAX_BYTES = 16 << 20,
        STATEMENT_MAX_BYTES = 64 << 20,
        CANDIDATES_SHOWN = 200,
        PATH_MAX_BYTES = 4096,
};

struct Editor {
        EditLine *el;
        HistoryW *history;
        EditorHooks hooks;
        const char *prompt;
        wchar_t wide_prompt[128];
        Bytes before;
        FILE *file; /* the history is appended here; NULL: not kept */
        Buf text;   /* of the line being edited, as UTF-8 */
        wchar_t *wide;
        size_t wide_capacity;
        Status failed; /* inside a callback of the library */
        bool cancelled, ended;
        bool marks_pastes; /* the terminal can be asked to */
};

static volatile sig_atomic_t resized;

static void on_resize(int number)
{
        (void)number;
        resized = 1;
}

/* --- wide characters --- */

static Status to_utf8(const wchar_t *wide, size_t count, Buf *out)
{
        for (size_t i = 0; i < count; i++) {
                utf8proc_uint8_t bytes[4];
                utf8proc_ssize_t size = utf8proc_encode_char((utf8proc_int32_t)wide[i], bytes);
                TRY(buf_append(out, bytes, (size_t)MAX(size, 0)));
        }
        return ST_OK;
}

/* In memory that the editor keeps until the next call; NULL when there is none. */
static const wchar_t *to_wide(Editor *editor, Bytes text)
{
        if (editor->wide_capacity < text.size + 1) {
                wchar_t *wide = mem_realloc(editor->wide, (text.size + 1) * sizeof *wide);
                if (!wide)
                        return NULL;
                editor->wide = wide;
                editor->wide_capacity = text.size + 1;
        }
        size_t count = 0;
        for (size_t i = 0; i < text.size;) {
                utf8proc_int32_t c;
                utf8proc_ssize_t size = utf8proc_iterate(text.data + i, (utf8proc_ssize_t)(text.size - i), &c);
                editor->wide[count++] = size > 0 ? (wchar_t)c : L'?';
                i += (size_t)MAX(size, 1);
        }
        editor->wide[count] = 0;
        return editor->wide;
}

/* --- keys --- */

static Editor *editor_of(EditLine *el)
{
        void *data = NULL;
        el_wget(el, EL_CLIENTDATA, &data);
        return data;
}

/* One byte of the terminal; false when there is none to come: interrupted, ended. */
static bool read_byte(Editor *editor, uint8_t *ret_byte)
{
        sigset_t none;
        sigemptyset(&none);
        for (;;) {
                struct pollfd waited[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                          {.fd = interrupt_fd(), .events = POLLIN}};
                int n = ppoll(waited, ELEMENTS(waited), NULL, &none);
                if (resized) {
                        resized = 0;
                        el_resize(editor->el);
                        el_wset(editor->el, EL_REFRESH);
                }
                if (n < 0 && errno != EINTR)
                        break;
                if (interrupt_came()) {
                        editor->cancelled = true;
                        editor->ended = interrupt_ends();
                        return false;
                }
                if (n <= 0 || !waited[0].revents)
                        continue;
                ssize_t size = read(STDIN_FILENO, ret_byte, 1);
                if (size == 1)
                        return true;
                if (size < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                break; /* the terminal is gone */
        }
        editor->ended = true;
        return false;
}

static int read_key(EditLine *el, wchar_t *ret_key)
{
        Editor *editor = editor_of(el);
        uint8_t bytes[4];
        size_t size = 0, wanted = 1;
        while (size < wanted) {
                if (!read_byte(editor, &bytes[size]))
                        return editor->cancelled ? -1 : 0;
                if (size++ == 0)
                        wanted = bytes[0] < 0xc0 ? 1 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
        }
        utf8proc_int32_t c = bytes[0];
        if (bytes[0] >= 0x80 && utf8proc_iterate(bytes, (utf8proc_ssize_t)size, &c) <= 0)
                c = 0xfffd;
        *ret_key = (wchar_t)c;
        return 1;
}

/* Pasted text is text: a tab in it completes nothing, a newline in it does not run anything. */
static unsigned char paste(EditLine *el, wint_t key)
{
        static const wchar_t end[] = L"\x1b[201~";
        Editor *editor = editor_of(el);
        size_t matched = 0;
        wchar_t c;
        (void)key;
        buf_clear(&editor->text);
        while (matched < ELEMENTS(end) - 1 && el_wgetc(el, &c) == 1) {
                matched = c == end[matched] ? matched + 1 : c == end[0];
                c = c == L'\r' ? L'\n' : c;
                if (matched == 0 && (c >= 0x20 || c == L'\n' || c == L'\t') && c != 0x7f &&
                    (editor->failed = to_utf8(&c, 1, &editor->text)))
                        return CC_EOF;
        }
        while (editor->text.size && editor->text.data[editor->text.size - 1] == '\n')
                editor->text.size--;
        const wchar_t *wide = to_wide(editor, BYTES(editor->text.data, editor->text.size));
        if (!wide || !*wide)
                return CC_NORM;
        return el_winsertstr(el, wide) == 0 ? CC_REFRESH : CC_ERROR;
}

/* --- completion --- */

void candidates_add(Candidates *candidates, const char *text, const char *suffix)
{
        if (candidates->count == candidates->capacity) {
                size_t capacity = MAX(2 * candidates->capacity, 64);
                Candidate *items = arena_array(candidates->arena, Candidate, capacity);
                if (candidates->count)
                        memcpy(items, candidates->items, candidates->count * sizeof *items);
                candidates->items = items;
                candidates->capacity = capacity;
        }
        candidates->items[candidates->count++] = (Candidate){text, suffix};
}

static int compare_candidates(const void *a, const void *b)
{
        return strcmp(((const Candidate *)a)->text, ((const Candidate *)b)->text);
}

/* Sorted, each once. */
static void sort_candidates(Candidates *candidates)
{
        size_t count = 0;
        if (candidates->count == 0)
                return;
        qsort(candidates->items, candidates->count, sizeof *candidates->items, compare_candidates);
        for (size_t i = 0; i < candidates->count; i++) {
                if (count == 0 || strcmp(candidates->items[count - 1].text, candidates->items[i].text) != 0)
                        candidates->items[count++] = candidates->items[i];
        }
        candidates->count = count;
}

static size_t common_prefix(const Candidates *candidates)
{
        const char *first = candidates->items[0].text;
        size_t size = strlen(first);
        for (size_t i = 1; i < candidates->count; i++) {
                size_t same = 0;
                while (same < size && candidates->items[i].text[same] == first[same])
                        same++;
                size = same;
        }
        while (size > 0 && ((uint8_t)first[size] & 0xc0) == 0x80) /* whole characters */
                size--;
        return size;
}

static void list_candidates(const Candidates *candidates)
{
        struct winsize size;
        size_t shown = MIN(candidates->count, (size_t)CANDIDATES_SHOWN), widest = 1;
        size_t columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
        Buf text;
        buf_init(&text, 1 << 20);
        for (size_t i = 0; i < shown; i++)
                widest = MAX(widest, cell_width(BYTES_STR(candidates->items[i].text)));
        size_t across = MAX(columns / (widest + 2), 1), down = (shown + across - 1) / across;
        putchar('\n');
        for (size_t row = 0; row < down; row++) {
                for (size_t i = row; i < shown; i += down) {
                        buf_clear(&text);
                        Status st = cell_append_text(BYTES_STR(candidates->items[i].text), &text);
                        status_ignore(st);
                        size_t width = cell_width(BYTES(text.data, text.size));
                        printf("%.*s%*s", (int)text.size, (const char *)text.data,
                               i + down < shown ? (int)(widest + 2 - MIN(width, widest)) : 0, "");
                }
                putchar('\n');
        }
        if (candidates->count > shown)
                printf("... and %zu more\n", candidates->count - shown);
        fflush(stdout);
        buf_done(&text);
}

static size_t characters_of(Bytes text)
{
        size_t count = 0;
        for (size_t i = 0; i < text.size; i++)
                count += (text.data[i] & 0xc0) != 0x80;
        return count;
}

static unsigned char put_candidate(Editor *editor, const Candidates *candidates, Bytes word, size_t size)
{
        const Candidate *one = &candidates->items[0];
        const char *suffix = candidates->count == 1 && one->suffix ? one->suffix : "";
        size_t word_characters = characters_of(word);
        Buf text;
        buf_init(&text, STATEMENT_MAX_BYTES);
        Status st = buf_append(&text, one->text, size);
        st = st ? st : buf_append_str(&text, suffix);
        const wchar_t *wide = st ? NULL : to_wide(editor, BYTES(text.data, text.size));
        if (wide) {
                el_wdeletestr(editor->el, (int)word_characters);
                if (*wide)
                        el_winsertstr(editor->el, wide);
        }
        status_ignore(st);
        buf_done(&text);
        return CC_REFRESH;
}

static unsigned char complete(EditLine *el, wint_t key)
{
        Editor *editor = editor_of(el);
        const LineInfoW *line = el_wline(el);
        Arena arena;
        unsigned char result = CC_ERROR;
        (void)key;
        arena_init(&arena, 0);
        Candidates candidates = {.arena = &arena};
        buf_clear(&editor->text);
        Status st = buf_append(&editor->text, editor->before.data, editor->before.size);
        st = st ? st : to_utf8(line->buffer, (size_t)(line->cursor - line->buffer), &editor->text);
        if (st == ST_OK) {
                Bytes before = BYTES(editor->text.data, editor->text.size);
                editor->hooks.complete(editor->hooks.ctx, before, &candidates);
                sort_candidates(&candidates);
                Bytes word = BYTES(before.data + before.size - candidates.word_bytes, candidates.word_bytes);
                size_t common = candidates.count ? common_prefix(&candidates) : 0;
                if (candidates.count == 1 || common > word.size) {
                        result = put_candidate(editor, &candidates, word, common);
                } else if (candidates.count > 1) {
                        list_candidates(&candidates);
                        result = CC_REDISPLAY;
                }
        }
        status_ignore(st);
        arena_done(&arena);
        return result;
}

/* --- history --- */

static void add_to_memory(Editor *editor, Bytes statement)
{
        HistEventW event;
        const wchar_t *wide = to_wide(editor, statement);
        if (wide)
                history_w(editor->history, &event, H_ENTER, wide);
}

/* Makes the directories that the file is in. */
static void make_directories(const char *path)
{
        char dir[PATH_MAX_BYTES];
        if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir)
                return;
        for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                mkdir(dir, 0700); /* opening the file says what is wrong */
                *slash = '/';
        }
}

/* The newest lines go to a new file in place of the old one. */
static void shorten(const char *path, const Bytes *lines, size_t count)
{
        char temporary[PATH_MAX_BYTES + 32];
        snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
        if (!file)
                return;
        for (size_t i = count - HISTORY_MAX_LINES / 2; i < count; i++)
                fprintf(file, "%.*s\n", (int)lines[i].size, (const char *)lines[i].data);
        if (fclose(file) != 0 || rename(temporary, path) != 0)
                unlink(temporary);
}

static Status load_history(Editor *editor, const char *path)
{
        Buf text, line;
        Bytes *lines = NULL;
        size_t count = 0;
        buf_init(&text, HISTORY_MAX_BYTES);
        buf_init(&line, HISTORY_MAX_BYTES);
        FILE *file = fopen(path, "re");
        Status st = ST_OK;
        while (file && st == ST_OK) {
                st = buf_reserve(&text, 64 * 1024);
                size_t n = st ? 0 : fread(text.data + text.size, 1, text.capacity - text.size, file);
                text.size += n;
                if (n == 0)
                        break;
        }
        if (file)
                fclose(file);
        for (size_t i = 0; i < text.size; i++)
                count += text.data[i] == '\n';
        lines = st ? NULL : mem_alloc((count + 1) * sizeof *lines);
        size_t filled = 0, from = 0;
        for (size_t i = 0; lines && i < text.size; i++) {
                if (text.data[i] == '\n') {
                        lines[filled++] = BYTES(text.data + from, i - from);
                        from = i + 1;
                }
        }
        for (size_t i = filled > HISTORY_MAX_LINES ? filled - HISTORY_MAX_LINES : 0; i < filled; i++) {
                buf_clear(&line);
                st = history_unescape(lines[i], &line);
                if (st == ST_OK && line.size)
                        add_to_memory(editor, BYTES(line.data, line.size));
                status_ignore(st);
                st = ST_OK;
        }
        if (filled > HISTORY_MAX_LINES)
                shorten(path, lines, filled);
        mem_free(lines);
        buf_done(&text);
        buf_done(&line);
        return st;
}

static void open_history(Editor *editor, const char *path)
{
        make_directories(path);
        Status st = load_history(editor, path);
        int fd = st ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
                fchmod(fd, 0600);
        editor->file = fd < 0 ? NULL : fdopen(fd, "a");
        if (!editor->file)
                output_warning("no history is kept: %s: %s", path, st ? status_message(st) : strerror(errno));
        status_ignore(st);
}

void editor_remember(Editor *editor, Bytes statement)
{
        Buf line;
        if (statement.size == 0)
                return;
        add_to_memory(editor, statement);
        if (!editor->file || !history_may_keep(statement))
                return;
        buf_init(&line, STATEMENT_MAX_BYTES);
        Status st = history_escape(statement, &line);
        if (st == ST_OK) {
                fprintf(editor->file, "%.*s\n", (int)line.size, (const char *)line.data);
                fflush(editor->file); /* a full disk costs the history, nothing else */
        }
        status_ignore(st);
        buf_done(&line);
}

/* --- the editor --- */

static wchar_t *give_prompt(EditLine *el)
{
        return editor_of(el)->wide_prompt;
}

static void bind(EditLine *el, const wchar_t *key, const wchar_t *function)
{
        el_wset(el, EL_BIND, key, function, NULL);
}

static void bind_keys(EditLine *el)
{
        el_wset(el, EL_EDITOR, L"emacs");
        el_wset(el, EL_ADDFN, L"photondb-complete", L"complete terms and names", complete);
        el_wset(el, EL_ADDFN, L"photondb-paste", L"take pasted text as it is", paste);
        bind(el, L"^R", L"em-inc-search-prev");
        bind(el, L"^W", L"ed-delete-prev-word");
        bind(el, L"\\e[3~", L"ed-delete-next-char");
        bind(el, L"\\e[1~", L"ed-move-to-beg");
        bind(el, L"\\e[4~", L"ed-move-to-end");
        bind(el, L"\\e[1;5C", L"em-next-word");
        bind(el, L"\\e[1;5D", L"ed-prev-word");
        el_source(el, NULL); /* the user's own ~/.editrc */
        bind(el, L"^I", L"photondb-complete");
        bind(el, L"\\e[200~", L"photondb-paste");
}

Status editor_new(const EditorHooks *hooks, const char *path, Editor **ret_editor)
{
        Editor *editor = mem_zalloc(sizeof *editor);
        HistEventW event;
        if (!editor)
                return status_nomem();
        editor->hooks = *hooks;
        buf_init(&editor->text, STATEMENT_MAX_BYTES);
        if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
                setlocale(LC_CTYPE, "C.UTF-8"); /* as all text here is */
        editor->el = el_init("photondb", stdin, stdout, stderr);
        editor->history = history_winit();
        if (!editor->el || !editor->history) {
                editor_free(editor);
                return status_new(ERR_UNSUPPORTED, "lines cannot be edited on this terminal");
        }
        const char *term = getenv("TERM");
        editor->marks_pastes = term && *term && strcmp(term, "dumb") != 0;
        history_w(editor->history, &event, H_SETSIZE, HISTORY_MAX_LINES);
        history_w(editor->history, &event, H_SETUNIQUE, 1);
        el_wset(editor->el, EL_CLIENTDATA, editor);
        el_wset(editor->el, EL_SIGNAL, 0);
        el_wset(editor->el, EL_PROMPT, give_prompt);
        el_wset(editor->el, EL_HIST, history_w, editor->history);
        el_wset(editor->el, EL_GETCFN, read_key);
        bind_keys(editor->el);
        if (path)
                open_history(editor, path);
        struct sigaction action = {.sa_handler = on_resize};
        sigset_t blocked;
        sigemptyset(&action.sa_mask);
        sigaction(SIGWINCH, &action, NULL);
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGWINCH);
        sigprocmask(SIG_BLOCK, &blocked, NULL);
        *ret_editor = editor;
        return ST_OK;
}

Editor *editor_free(Editor *editor)
{
        if (editor) {
                if (editor->el)
                        el_end(editor->el);
                if (editor->history)
                        history_wend(editor->history);
                if (editor->file)
                        fclose(editor->file);
                buf_done(&editor->text);
                mem_free(editor->wide);
                mem_free(editor);
        }
        return NULL;
}

Status editor_read(Editor *editor, const char *prompt, Bytes before, Buf *line, EditorEvent *ret_event)
{
        int count = 0;
        const wchar_t *wide = to_wide(editor, BYTES_STR(prompt));
        if (!wide)
                return status_nomem();
        size_t length = MIN(wcslen(wide), ELEMENTS(editor->wide_prompt) - 1);
        wmemcpy(editor->wide_prompt, wide, length);
        editor->wide_prompt[length] = 0;
        editor->before = before;
        editor->cancelled = editor->ended = false;
        resized = 0; /* the library asks for the size before each line */
        /* Before the prompt is there, so that no key that is typed upon it is taken as the end of a file or a line. */
        el_wset(editor->el, EL_PREP_TERM, 1);
        if (editor->marks_pastes)
                fputs("\x1b[?2004h", stdout);
        fflush(stdout);
        interrupt_clear();
        wide = el_wgets(editor->el, &count);
        if (editor->marks_pastes)
                fputs("\x1b[?2004l", stdout);
        fflush(stdout);
        buf_clear(line);
        TRY(take(editor->failed));
        if (editor->cancelled && !editor->ended) {
                el_reset(editor->el);
                interrupt_clear();
                *ret_event = EDITOR_CANCELLED;
                return ST_OK;
        }
        if (!wide || count <= 0) {
                *ret_event = EDITOR_END;
                return ST_OK;
        }
        TRY(to_utf8(wide, (size_t)count, line));
        while (line->size && (line->data[line->size - 1] == '\n' || line->data[line->size - 1] == '\r'))
                line->size--;
        *ret_event = EDITOR_LINE;
        return ST_OK;
}
