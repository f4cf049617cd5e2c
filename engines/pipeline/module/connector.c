/*
 * A transform connector: runs one SQL statement over each batch it is given.
 *
 * The batch is a table named `input`, whose cells are read straight from the buffers that the host wrote into this
 * module's memory. Results are gathered column by column and read back by the host. SQLite does the rest.
 *
 * What must not happen here: anything that needs the outside world. The module has no files, no clock and no network.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define COLUMNS_MAX 256

/* The kinds of column; the host's `Kind` has the same numbers. */
enum { KIND_INTEGER = 0, KIND_FLOAT = 1, KIND_BOOLEAN = 2, KIND_TEXT = 3 };

/* A column of the batch, in the module's memory. `valid` has a byte for each row, or is 0 where all are valid. */
struct input_column {
  uint32_t kind;
  uint32_t valid;
  uint32_t offsets;
  uint32_t values;
};

/* A column of the result. `values` holds 8 bytes a row, one byte for booleans, or texts end to end. */
struct output_column {
  uint32_t kind;
  uint32_t valid;
  uint32_t offsets;
  uint32_t values;
  uint32_t value_bytes;
};

struct growing {
  uint8_t *bytes;
  size_t length;
  size_t capacity;
};

static sqlite3 *database;
static sqlite3_stmt *statement;
static char error_text[512];

static uint8_t *input_bytes;
static size_t input_capacity;
static struct input_column *input_columns;
static uint32_t input_column_count;
static uint32_t input_rows;

static struct output_column output_columns[COLUMNS_MAX];
static struct growing valid[COLUMNS_MAX], offsets[COLUMNS_MAX], values[COLUMNS_MAX];
static uint32_t output_column_count;

static int fail(const char *what) {
  strncpy(error_text, what, sizeof error_text - 1);
  return -1;
}

static void *reserve(struct growing *buffer, size_t more) {
  if (buffer->length + more > buffer->capacity) {
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 4096;
    while (capacity < buffer->length + more) capacity *= 2;
    uint8_t *bytes = realloc(buffer->bytes, capacity);
    if (!bytes) __builtin_trap();
    buffer->bytes = bytes;
    buffer->capacity = capacity;
  }
  void *place = buffer->bytes + buffer->length;
  buffer->length += more;
  return place;
}

/* The table `input`: every row of the batch in order. */

struct cursor {
  sqlite3_vtab_cursor base;
  uint32_t row;
};

static int table_connect(sqlite3 *db, void *declaration, int argc, const char *const *argv, sqlite3_vtab **table,
                         char **message) {
  (void)argc, (void)argv, (void)message;
  int code = sqlite3_declare_vtab(db, declaration);
  if (code != SQLITE_OK) return code;
  *table = calloc(1, sizeof **table);
  return *table ? SQLITE_OK : SQLITE_NOMEM;
}

static int table_disconnect(sqlite3_vtab *table) {
  free(table);
  return SQLITE_OK;
}

static int table_plan(sqlite3_vtab *table, sqlite3_index_info *plan) {
  (void)table;
  plan->estimatedCost = 1e6;
  return SQLITE_OK;
}

static int cursor_open(sqlite3_vtab *table, sqlite3_vtab_cursor **opened) {
  (void)table;
  struct cursor *cursor = calloc(1, sizeof *cursor);
  if (!cursor) return SQLITE_NOMEM;
  *opened = &cursor->base;
  return SQLITE_OK;
}

static int cursor_close(sqlite3_vtab_cursor *cursor) {
  free(cursor);
  return SQLITE_OK;
}

static int cursor_filter(sqlite3_vtab_cursor *base, int number, const char *name, int argc, sqlite3_value **argv) {
  (void)number, (void)name, (void)argc, (void)argv;
  ((struct cursor *)base)->row = 0;
  return SQLITE_OK;
}

static int cursor_next(sqlite3_vtab_cursor *base) {
  ((struct cursor *)base)->row++;
  return SQLITE_OK;
}

static int cursor_ended(sqlite3_vtab_cursor *base) { return ((struct cursor *)base)->row >= input_rows; }

static int cursor_column(sqlite3_vtab_cursor *base, sqlite3_context *result, int index) {
  uint32_t row = ((struct cursor *)base)->row;
  const struct input_column *column = &input_columns[index];
  if (column->valid && !((const uint8_t *)column->valid)[row]) {
    sqlite3_result_null(result);
    return SQLITE_OK;
  }
  switch (column->kind) {
    case KIND_INTEGER: sqlite3_result_int64(result, ((const int64_t *)column->values)[row]); break;
    case KIND_FLOAT: sqlite3_result_double(result, ((const double *)column->values)[row]); break;
    case KIND_BOOLEAN: sqlite3_result_int(result, ((const uint8_t *)column->values)[row]); break;
    default: {
      const int32_t *ends = (const int32_t *)column->offsets;
      const char *text = (const char *)column->values + ends[row];
      sqlite3_result_text(result, text, ends[row + 1] - ends[row], SQLITE_STATIC);
    }
  }
  return SQLITE_OK;
}

static int cursor_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid) {
  *rowid = ((struct cursor *)base)->row;
  return SQLITE_OK;
}

static sqlite3_module input_module = {
    .iVersion = 1,
    .xConnect = table_connect,
    .xBestIndex = table_plan,
    .xDisconnect = table_disconnect,
    .xOpen = cursor_open,
    .xClose = cursor_close,
    .xFilter = cursor_filter,
    .xNext = cursor_next,
    .xEof = cursor_ended,
    .xColumn = cursor_column,
    .xRowid = cursor_rowid,
};

/* SQLite wants an operating system; an in-memory database uses nothing of it but the hooks below. */

static int no_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
  (void)vfs, (void)name, (void)flags, (void)out;
  file->pMethods = 0;
  return SQLITE_CANTOPEN;
}
static int no_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  (void)vfs, (void)name, (void)sync;
  return SQLITE_IOERR;
}
static int no_access(sqlite3_vfs *vfs, const char *name, int flags, int *result) {
  (void)vfs, (void)name, (void)flags;
  *result = 0;
  return SQLITE_OK;
}
static int no_path(sqlite3_vfs *vfs, const char *name, int size, char *out) {
  (void)vfs;
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}
static int no_randomness(sqlite3_vfs *vfs, int bytes, char *out) {
  (void)vfs;
  memset(out, 42, bytes);
  return bytes;
}
static int no_sleep(sqlite3_vfs *vfs, int micros) {
  (void)vfs;
  return micros;
}
static int no_time(sqlite3_vfs *vfs, double *now) {
  (void)vfs;
  *now = 2460676.5;
  return SQLITE_OK;
}

int sqlite3_os_init(void) {
  static sqlite3_vfs vfs = {
      .iVersion = 1,
      .szOsFile = sizeof(sqlite3_file),
      .mxPathname = 64,
      .zName = "none",
      .xOpen = no_open,
      .xDelete = no_delete,
      .xAccess = no_access,
      .xFullPathname = no_path,
      .xRandomness = no_randomness,
      .xSleep = no_sleep,
      .xCurrentTime = no_time,
  };
  return sqlite3_vfs_register(&vfs, 1);
}
int sqlite3_os_end(void) { return SQLITE_OK; }

/* The SQL function `trap()` ends the instance: what a defect in a connector does. */
static void sql_trap(sqlite3_context *result, int argc, sqlite3_value **argv) {
  (void)result, (void)argc, (void)argv;
  __builtin_trap();
}

/* Room for `bytes` bytes that the host fills before its next call. */
EXPORT("uplift_reserve") uint8_t *uplift_reserve(uint32_t bytes) {
  if (bytes > input_capacity) {
    free(input_bytes);
    /* Sixteen bytes more, so that the host can align what it writes. */
    input_bytes = malloc(bytes + 16);
    if (!input_bytes) __builtin_trap();
    input_capacity = bytes;
  }
  return input_bytes;
}

EXPORT("uplift_error") const char *uplift_error(void) { return error_text; }

/* `declaration`: CREATE TABLE of the input. `kinds`: those of the result's columns. Texts end with zero. */
EXPORT("uplift_prepare") int32_t uplift_prepare(const char *declaration, const char *sql, const uint8_t *kinds,
                                                uint32_t kind_count) {
  if (kind_count > COLUMNS_MAX) return fail("the result has too many columns");
  char *kept = strdup(declaration);
  if (!kept || sqlite3_open(":memory:", &database) != SQLITE_OK) return fail("SQLite does not open");
  if (sqlite3_create_module(database, "input", &input_module, kept) != SQLITE_OK ||
      sqlite3_create_function(database, "trap", 0, SQLITE_UTF8, 0, sql_trap, 0, 0) != SQLITE_OK)
    return fail(sqlite3_errmsg(database));
  if (sqlite3_prepare_v2(database, sql, -1, &statement, 0) != SQLITE_OK) return fail(sqlite3_errmsg(database));
  if ((uint32_t)sqlite3_column_count(statement) != kind_count) return fail("the result has another number of columns");
  output_column_count = kind_count;
  for (uint32_t i = 0; i < kind_count; i++) output_columns[i].kind = kinds[i];
  return 0;
}

/* Runs the statement over the batch that `columns` describes. The number of result rows, or -1. */
EXPORT("uplift_transform") int32_t uplift_transform(struct input_column *columns, uint32_t column_count, uint32_t rows) {
  input_columns = columns;
  input_column_count = column_count;
  input_rows = rows;
  for (uint32_t i = 0; i < output_column_count; i++) {
    valid[i].length = offsets[i].length = values[i].length = 0;
    if (output_columns[i].kind == KIND_TEXT) *(int32_t *)reserve(&offsets[i], 4) = 0;
  }
  int32_t produced = 0;
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    for (uint32_t i = 0; i < output_column_count; i++) {
      int present = sqlite3_column_type(statement, i) != SQLITE_NULL;
      *(uint8_t *)reserve(&valid[i], 1) = (uint8_t)present;
      switch (output_columns[i].kind) {
        case KIND_INTEGER: *(int64_t *)reserve(&values[i], 8) = sqlite3_column_int64(statement, i); break;
        case KIND_FLOAT: *(double *)reserve(&values[i], 8) = sqlite3_column_double(statement, i); break;
        case KIND_BOOLEAN: *(uint8_t *)reserve(&values[i], 1) = sqlite3_column_int(statement, i) != 0; break;
        default: {
          const void *text = present ? sqlite3_column_text(statement, i) : 0;
          int length = text ? sqlite3_column_bytes(statement, i) : 0;
          if (length) memcpy(reserve(&values[i], length), text, length);
          *(int32_t *)reserve(&offsets[i], 4) = (int32_t)values[i].length;
        }
      }
    }
    produced++;
  }
  if (code != SQLITE_DONE) {
    fail(sqlite3_errmsg(database));
    sqlite3_reset(statement);
    return -1;
  }
  sqlite3_reset(statement);
  for (uint32_t i = 0; i < output_column_count; i++) {
    output_columns[i].valid = (uint32_t)valid[i].bytes;
    output_columns[i].offsets = (uint32_t)offsets[i].bytes;
    output_columns[i].values = (uint32_t)values[i].bytes;
    output_columns[i].value_bytes = (uint32_t)values[i].length;
  }
  return produced;
}

EXPORT("uplift_output") const struct output_column *uplift_output(void) { return output_columns; }
