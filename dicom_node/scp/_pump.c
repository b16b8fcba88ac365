/* The receive path's accelerator: plain C-STOREs of one association, from the socket to the instance's durable file, without the GIL.

   `Pump.run` reads into the association's buffer, stores what is plain and answers it, until a moment is over or something comes that is
   not plain. Rules:
   1. Nothing is taken from the buffer and no file is created before the command set is read and the data set's identifying UIDs are found
      equal to it. Whatever is not plain until then stays in the buffer, untouched, for the Python path.
   2. Whatever is not plain later ends `run` between two bytes of the stream; `hand_over` then gives the instance to the Python path.
   3. File names, system calls and their order are those of storage/instance_writer.py and storage/commit.py. An instance is answered only
      behind all of them; a failing call ends `run` with its errno, and Python words the refusal.
   4. Checks that change with time (free space) are Python's, before each `run`; a run ends at the time it is given, and within an instance
      after 16 MiB at the latest.
   5. No state but the object's. One thread runs it; `discard` may come from another.

   Limited API of Python 3.11: one binary for all later versions. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "_pump_wire.h"

enum {
    LONGEST_NAME = 200,
    LONGEST_META = 1024,
    LONGEST_COMMAND = 1024,
    MOST_REPORTED = 256,            /* instances in one run */
    MOST_PARTS = 128,               /* fragments in one write */
    MOST_LOOKS = 16,                /* at one header that does not get complete */
    LEAST_ROOM = 1 << 16,           /* to read into, before what is left over moves to the front */
    WRITE_OUT_BYTES = 1 << 20,      /* as in instance_writer.py */
    LOOK_AT_SPACE_BYTES = 16 << 20, /* as in door.py */
    PATIENCE_US = 2000,             /* for the next instance, before those that came are reported */
};
static const double STALLED_S = 0.015; /* as in haste.py */

/* Why a run ended; the same numbers as in pump.py. GO_ON and NEED_BYTES stay inside. */
typedef enum {
    GO_ON = -2,
    NEED_BYTES = -1,
    NOTHING_CAME = 0,
    TIME_IS_OVER = 1,
    NOT_PLAIN = 2,
    PEER_LEFT = 3,
    FOLDER_SYNC_OWED = 4,
    CREATE_FAILED = 5,
    WRITE_FAILED = 6,
    COMMIT_FAILED = 7,
} Why;

enum { SYNC_NONE = 0, SYNC_STRICT = 1, SYNC_GROUP = 2 };

/* One accepted presentation context; the bytes belong to the tuple that was given. */
typedef struct {
    Uid sop_class;
    const char *before, *after; /* file meta around Media Storage SOP Instance UID */
    size_t before_size, after_size;
    int implicit;
} Context;

/* One instance between its command set and its answer. */
typedef struct {
    int descriptor; /* -1: none open */
    const Context *context;
    uint8_t context_id;
    uint16_t message_id;
    char uid[LONGEST_UID], study[LONGEST_UID], series[LONGEST_UID];
    size_t uid_size, study_size, series_size;
    uint64_t size;        /* of the data set so far */
    uint64_t file_size;   /* with preamble and meta; 0 until these are written */
    uint64_t written_out; /* of the file, asked to go to the disk */
    char unique[LONGEST_NAME + 32];
} Instance;

typedef struct {
    PyObject_HEAD
    Py_buffer buffer;
    PyObject *contexts;
    Context *table;
    int16_t of_id[256];
    int folder, durability;
    uint64_t max_bytes;
    int one_study; /* instances of another one are not plain */
    char study[LONGEST_UID];
    size_t study_size;
    char prefix[LONGEST_NAME];
    uint64_t instances;
    size_t head, tail;
    Place place;
    int within_instance;
    int looks;
    uint64_t space_seen_at;
    Instance instance;
    int running;
    atomic_int dropped;
} Pump;

/* What one run came to. */
typedef struct {
    int connection, may_wait, quick, impatient;
    double until;
    int failed; /* errno */
    int rested; /* the stream stood between two messages, nothing in the buffer */
    uint64_t received; /* since then, or since the run began */
    double longest_stall_s;
    uint64_t bytes;
    int count;
    double durable_after_s[MOST_REPORTED];
} Turn;

static double monotonic_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint8_t *bytes_of(Pump *pump) { return pump->buffer.buf; }

static Uid uid_of(const char *text, size_t size) { return (Uid){(const uint8_t *)text, size}; }

static int again(int result) { return result < 0 && errno == EINTR; }

/* The instance's file */

static void partial_name(const Instance *instance, char *name, size_t size) { snprintf(name, size, ".%s.partial", instance->unique); }

static void discard_file(Pump *pump) {
    char name[LONGEST_NAME + 64];
    if (pump->instance.descriptor >= 0) {
        close(pump->instance.descriptor);
        pump->instance.descriptor = -1;
        partial_name(&pump->instance, name, sizeof name);
        unlinkat(pump->folder, name, 0);
    }
}

static Why create_file(Pump *pump, Turn *turn) {
    Instance *instance = &pump->instance;
    char name[LONGEST_NAME + 64];
    instance->size = instance->file_size = instance->written_out = pump->space_seen_at = 0;
    snprintf(instance->unique, sizeof instance->unique, "%s.%llu", pump->prefix, (unsigned long long)pump->instances++);
    partial_name(instance, name, sizeof name);
    while (again(instance->descriptor = openat(pump->folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600))) {}
    if (instance->descriptor >= 0) return GO_ON;
    turn->failed = errno;
    return CREATE_FAILED;
}

/* Preamble, prefix and file meta, as door.part_10_head makes them; returns the size. */
static size_t put_meta(const Pump *pump, uint8_t *out) {
    const Instance *instance = &pump->instance;
    const Context *context = instance->context;
    size_t padded = (instance->uid_size + 1) & ~(size_t)1;
    size_t body = context->before_size + 8 + padded + context->after_size;
    const uint8_t group_length[12] = {2, 0, 0, 0, 'U', 'L', 4, 0, (uint8_t)body, (uint8_t)(body >> 8)};
    const uint8_t element[8] = {2, 0, 3, 0, 'U', 'I', (uint8_t)padded, 0};
    memset(out, 0, 128);
    memcpy(out + 128, "DICM", 4);
    memcpy(out + 132, group_length, sizeof group_length);
    uint8_t *at = out + 144;
    memcpy(at, context->before, context->before_size);
    memcpy(at += context->before_size, element, sizeof element);
    memcpy(at += sizeof element, instance->uid, instance->uid_size);
    memset(at + instance->uid_size, 0, padded - instance->uid_size);
    memcpy(at + padded, context->after, context->after_size);
    return 144 + body;
}

/* Writes all parts, however little a call takes; the parts are changed. */
static int write_parts(Instance *instance, struct iovec *parts, int number) {
    while (number) {
        ssize_t written = writev(instance->descriptor, parts, number);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -1;
        instance->file_size += (uint64_t)written;
        while (number && (size_t)written >= parts->iov_len) {
            written -= (ssize_t)parts->iov_len;
            parts++, number--;
        }
        if (number && written) {
            parts->iov_base = (char *)parts->iov_base + written;
            parts->iov_len -= (size_t)written;
        }
    }
    return 0;
}

/* Durable as promised, and named; the steps of commit.py. The folder's shared sync of `group` stays with Python. */
static int commit_file(Pump *pump) {
    Instance *instance = &pump->instance;
    char partial[LONGEST_NAME + 64], name[LONGEST_NAME + 96];
    struct timespec now;
    int result;
    partial_name(instance, partial, sizeof partial);
    if (pump->durability != SYNC_NONE) {
        while (again(result = fdatasync(instance->descriptor))) {}
        if (result < 0) return -1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, sizeof name, "%020llu-%s-%llu.dcm", (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec,
             instance->unique, (unsigned long long)instance->file_size);
    if (renameat(pump->folder, partial, pump->folder, name) < 0) return -1;
    int descriptor = instance->descriptor;
    instance->descriptor = -1;
    if (close(descriptor) < 0) return -1;
    if (pump->durability == SYNC_STRICT) {
        while (again(result = fsync(pump->folder))) {}
        if (result < 0) return -1;
    }
    return 0;
}

/* The stream */

/* Reads a PDV's header, and a PDU's before it if none is open. `position` moves behind what was read, only with PLAIN. */
static Verdict next_pdv(Pump *pump, Place *place, size_t *position) {
    Place next = *place;
    size_t at = *position;
    if (next.pdu_left == 0) {
        Verdict verdict = read_pdu_header(bytes_of(pump) + at, pump->tail - at, &next);
        if (verdict != PLAIN) return verdict;
        at += HEADER_BYTES;
    }
    Verdict verdict = read_pdv_header(bytes_of(pump) + at, pump->tail - at, &next);
    if (verdict != PLAIN) return verdict;
    *place = next;
    *position = at + HEADER_BYTES;
    return PLAIN;
}

/* Looks at command set and header from the head of the buffer; takes them, and creates the file, only if all of it is plain. */
static Why begin_instance(Pump *pump, Turn *turn) {
    Place place = {0};
    size_t position = pump->head;
    StoreCommand command = {0};
    Uid found[IDENTIFYING];
    if (pump->place.pdu_left) return NOT_PLAIN; /* a message begins within the PDU in which the last one ended */
    if (pump->head == pump->tail) {
        turn->rested = 1;
        turn->received = 0;
        pump->looks = 0;
        return NEED_BYTES;
    }
    Verdict verdict = next_pdv(pump, &place, &position);
    if (verdict == PLAIN) {
        if (place.control != (COMMAND | LAST) || place.pdv_left > LONGEST_COMMAND || pump->of_id[place.context_id] < 0) return NOT_PLAIN;
        if (pump->tail - position < place.pdv_left) verdict = MORE;
    }
    if (verdict == PLAIN) verdict = read_store_command(bytes_of(pump) + position, place.pdv_left, &command);
    if (verdict == PLAIN) {
        position += place.pdv_left;
        place.pdu_left -= place.pdv_left;
        uint8_t context_id = place.context_id;
        verdict = next_pdv(pump, &place, &position);
        if (verdict == PLAIN && (place.context_id != context_id || (place.control | LAST) != LAST)) return NOT_PLAIN;
    }
    if (verdict == PLAIN) {
        const Context *context = &pump->table[pump->of_id[place.context_id]];
        size_t here = pump->tail - position < place.pdv_left ? pump->tail - position : place.pdv_left;
        if (!same_uid(command.sop_class, context->sop_class)) return NOT_PLAIN;
        verdict = scan_identity(bytes_of(pump) + position, here, context->implicit, found);
        if (verdict == MORE && here == place.pdv_left) return NOT_PLAIN; /* the header goes on in another fragment */
    }
    if (verdict == MORE) {
        int full = pump->head == 0 && pump->tail == (size_t)pump->buffer.len;
        return full || ++pump->looks > MOST_LOOKS ? NOT_PLAIN : NEED_BYTES;
    }
    if (verdict == ODD || !same_uid(found[SOP_CLASS], command.sop_class) || !same_uid(found[SOP_INSTANCE], command.sop_instance)) {
        return NOT_PLAIN;
    }
    if (pump->one_study && !same_uid(found[STUDY], uid_of(pump->study, pump->study_size))) return NOT_PLAIN;
    if (monotonic_s() > turn->until || turn->count == MOST_REPORTED) return TIME_IS_OVER;

    Instance *instance = &pump->instance;
    instance->context = &pump->table[pump->of_id[place.context_id]];
    instance->context_id = place.context_id;
    instance->message_id = command.message_id;
    memcpy(instance->uid, command.sop_instance.at, instance->uid_size = command.sop_instance.size);
    memcpy(instance->study, found[STUDY].at, instance->study_size = found[STUDY].size);
    memcpy(instance->series, found[SERIES].at, instance->series_size = found[SERIES].size);
    pump->head = position;
    pump->place = place;
    pump->looks = 0;
    pump->within_instance = 1;
    return create_file(pump, turn);
}

/* Gathers the fragments in the buffer, up to the end of the data set, of the buffer, or of what is plain. */
static Verdict gather(Pump *pump, Place *place, size_t *position, struct iovec *parts, int *number, int *ends) {
    for (;;) {
        if (!place->within_pdv) {
            Place next = *place; /* a header that does not belong to this data set stays before the place that is handed over */
            size_t behind = *position;
            Verdict verdict = next_pdv(pump, &next, &behind);
            if (verdict != PLAIN) return verdict;
            if (next.context_id != pump->instance.context_id || (next.control | LAST) != LAST) return ODD;
            *place = next;
            *position = behind;
        }
        size_t here = pump->tail - *position;
        size_t taken = here < place->pdv_left ? here : place->pdv_left;
        if (taken) parts[(*number)++] = (struct iovec){bytes_of(pump) + *position, taken};
        *position += taken;
        place->pdv_left -= (uint32_t)taken;
        place->pdu_left -= (uint32_t)taken;
        if (place->pdv_left) return MORE;
        place->within_pdv = 0;
        *ends = place->control & LAST;
        if (*ends || *number == MOST_PARTS) return PLAIN;
    }
}

static Why answer(Pump *pump, Turn *turn) {
    uint8_t response[LONGEST_RESPONSE];
    const Instance *instance = &pump->instance;
    size_t size = put_success(response, instance->context_id, instance->message_id, instance->context->sop_class,
                              uid_of(instance->uid, instance->uid_size));
    for (size_t sent = 0; sent < size;) {
        ssize_t now = send(turn->connection, response + sent, size - sent, MSG_NOSIGNAL);
        if (now < 0 && errno == EINTR) continue;
        if (now < 0) return PEER_LEFT;
        sent += (size_t)now;
    }
    return GO_ON;
}

static Why end_instance(Pump *pump, Turn *turn) {
    double began = monotonic_s();
    if (commit_file(pump) < 0) {
        turn->failed = errno;
        discard_file(pump);
        return COMMIT_FAILED;
    }
    turn->durable_after_s[turn->count++] = monotonic_s() - began;
    turn->bytes += pump->instance.size;
    if (pump->durability == SYNC_GROUP) return FOLDER_SYNC_OWED;
    pump->within_instance = 0;
    return answer(pump, turn);
}

/* Writes what is in the buffer of the instance under way. What fails or is not to be written is left in the buffer. */
static Why go_on_with_instance(Pump *pump, Turn *turn) {
    Instance *instance = &pump->instance;
    struct iovec parts[MOST_PARTS + 1];
    uint8_t meta[LONGEST_META];
    Place place = pump->place;
    size_t position = pump->head, size = 0;
    int number = 1, ends = 0, first = instance->file_size == 0;
    Verdict verdict = gather(pump, &place, &position, parts, &number, &ends);
    for (int n = 1; n < number; n++) size += parts[n].iov_len;
    if (pump->max_bytes && instance->size + size > pump->max_bytes) return NOT_PLAIN;
    if (instance->size + size - pump->space_seen_at > LOOK_AT_SPACE_BYTES) return TIME_IS_OVER;
    if (first) parts[0] = (struct iovec){meta, put_meta(pump, meta)};
    if (number > 1 && write_parts(instance, parts + !first, number - !first) < 0) {
        turn->failed = errno;
        return WRITE_FAILED;
    }
    instance->size += size;
    pump->place = place;
    pump->head = position;
    if (pump->durability != SYNC_NONE && instance->file_size - instance->written_out >= WRITE_OUT_BYTES) {
        sync_file_range(instance->descriptor, (off_t)instance->written_out, (off_t)(instance->file_size - instance->written_out),
                        SYNC_FILE_RANGE_WRITE);
        instance->written_out = instance->file_size;
    }
    if (ends) return end_instance(pump, turn);
    if (verdict == ODD) return NOT_PLAIN;
    return verdict == MORE ? NEED_BYTES : GO_ON;
}

static void wait_at_most(int connection, long us) {
    struct timeval limit = {us / 1000000, us % 1000000};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* Reads once into the buffer. */
static Why receive(Pump *pump, Turn *turn) {
    static const int on = 1;
    size_t left = pump->tail - pump->head;
    if (left == 0) {
        pump->head = pump->tail = 0;
    } else if (pump->head && (size_t)pump->buffer.len - pump->tail < LEAST_ROOM) {
        memmove(bytes_of(pump), bytes_of(pump) + pump->head, left);
        pump->head = 0;
        pump->tail = left;
    }
    int between = !pump->within_instance && left == 0; /* a pause here is the peer's own affair */
    if (turn->count && turn->may_wait && !turn->impatient) {
        wait_at_most(turn->connection, PATIENCE_US);
        turn->impatient = 1;
    }
    if (turn->quick) setsockopt(turn->connection, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    double began = between ? 0.0 : monotonic_s();
    ssize_t received;
    do {
        received = recv(turn->connection, bytes_of(pump) + pump->tail, (size_t)pump->buffer.len - pump->tail, turn->may_wait ? 0 : MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return NOTHING_CAME;
    if (received <= 0) return PEER_LEFT;
    pump->tail += (size_t)received;
    turn->received += (uint64_t)received;
    if (!between) {
        double now = monotonic_s();
        if (now - began > turn->longest_stall_s) turn->longest_stall_s = now - began;
        if (now - began > STALLED_S) turn->quick = 1;
        if (now > turn->until) return TIME_IS_OVER;
    }
    return GO_ON;
}

static Why run_without_gil(Pump *pump, Turn *turn) {
    for (;;) {
        Why why = pump->within_instance ? go_on_with_instance(pump, turn) : begin_instance(pump, turn);
        if (why == NEED_BYTES) why = receive(pump, turn);
        if (atomic_load(&pump->dropped) && why < 0) why = PEER_LEFT;
        if (why != GO_ON) return why;
    }
}

/* Python's side */

static PyObject *pump_run(Pump *pump, PyObject *arguments) {
    Turn turn = {0};
    Py_ssize_t head, tail;
    long longest_wait_us;
    Why why;
    if (!PyArg_ParseTuple(arguments, "innlpd", &turn.connection, &head, &tail, &longest_wait_us, &turn.quick, &turn.until)) return NULL;
    if (head < 0 || head > tail || tail > pump->buffer.len) return PyErr_Format(PyExc_ValueError, "head or tail outside of the buffer");
    if (pump->running) return PyErr_Format(PyExc_RuntimeError, "runs in another thread");
    pump->head = (size_t)head;
    pump->tail = (size_t)tail;
    pump->space_seen_at = pump->instance.size; /* space was looked at just now */
    turn.may_wait = longest_wait_us > 0;
    pump->running = 1;
    Py_BEGIN_ALLOW_THREADS
    why = run_without_gil(pump, &turn);
    if (turn.impatient) wait_at_most(turn.connection, longest_wait_us);
    Py_END_ALLOW_THREADS
    pump->running = 0;
    if (atomic_load(&pump->dropped)) {
        discard_file(pump);
        pump->within_instance = 0;
    }
    PyObject *durable_after_s = PyTuple_New(turn.count);
    for (int n = 0; durable_after_s && n < turn.count; n++) {
        PyObject *seconds = PyFloat_FromDouble(turn.durable_after_s[n]);
        if (!seconds || PyTuple_SetItem(durable_after_s, n, seconds) < 0) Py_CLEAR(durable_after_s);
    }
    if (!durable_after_s) return NULL;
    return Py_BuildValue("inniKOOdKN", (int)why, (Py_ssize_t)pump->head, (Py_ssize_t)pump->tail, turn.failed, (unsigned long long)turn.received,
                         turn.rested ? Py_True : Py_False, pump->within_instance ? Py_True : Py_False, turn.longest_stall_s,
                         (unsigned long long)turn.bytes, durable_after_s);
}

static PyObject *pump_answer(Pump *pump, PyObject *nothing) {
    (void)nothing;
    uint8_t response[LONGEST_RESPONSE];
    const Instance *instance = &pump->instance;
    if (pump->running || !pump->within_instance) return PyErr_Format(PyExc_RuntimeError, "no instance to answer");
    size_t size = put_success(response, instance->context_id, instance->message_id, instance->context->sop_class,
                              uid_of(instance->uid, instance->uid_size));
    pump->within_instance = 0;
    return PyBytes_FromStringAndSize((const char *)response, (Py_ssize_t)size);
}

static PyObject *pump_hand_over(Pump *pump, PyObject *nothing) {
    (void)nothing;
    Instance *instance = &pump->instance;
    Place place = pump->place;
    if (pump->running) return PyErr_Format(PyExc_RuntimeError, "runs in another thread");
    PyObject *begun = Py_NewRef(Py_None);
    if (pump->within_instance) {
        Py_DECREF(begun);
        begun = Py_BuildValue("iIy#y#y#s#iKKK", (int)instance->context_id, (unsigned)instance->message_id, instance->uid,
                              (Py_ssize_t)instance->uid_size, instance->study, (Py_ssize_t)instance->study_size, instance->series,
                              (Py_ssize_t)instance->series_size, instance->unique, (Py_ssize_t)strlen(instance->unique),
                              instance->descriptor, (unsigned long long)instance->size, (unsigned long long)instance->file_size,
                              (unsigned long long)instance->written_out);
    }
    if (!begun) return NULL;
    long long pdv_left = place.within_pdv ? (long long)place.pdv_left : -1;
    PyObject *state = Py_BuildValue("NiIL", begun, (int)place.control, (unsigned)place.pdu_left, pdv_left);
    if (state) { /* the file is the caller's now */
        instance->descriptor = -1;
        pump->within_instance = 0;
        pump->place = (Place){0};
    }
    return state;
}

static PyObject *pump_serve_study(Pump *pump, PyObject *study) {
    char *text;
    Py_ssize_t size;
    pump->one_study = 0;
    if (study == Py_None) Py_RETURN_NONE;
    if (PyBytes_AsStringAndSize(study, &text, &size) < 0) return NULL;
    if ((size_t)size > sizeof pump->study) return PyErr_Format(PyExc_ValueError, "longer than a UID");
    memcpy(pump->study, text, pump->study_size = (size_t)size);
    pump->one_study = 1;
    Py_RETURN_NONE;
}

static PyObject *pump_discard(Pump *pump, PyObject *nothing) {
    (void)nothing;
    atomic_store(&pump->dropped, 1);
    if (!pump->running) {
        discard_file(pump);
        pump->within_instance = 0;
    }
    Py_RETURN_NONE;
}

static int read_context(Pump *pump, PyObject *entry, int number) {
    Context *context = &pump->table[number];
    const char *sop_class;
    Py_ssize_t class_size, before_size, after_size;
    int context_id;
    if (!PyArg_ParseTuple(entry, "iy#py#y#", &context_id, &sop_class, &class_size, &context->implicit, &context->before, &before_size,
                          &context->after, &after_size)) {
        return -1;
    }
    size_t longest = 144 + (size_t)before_size + 8 + LONGEST_UID + (size_t)after_size;
    context->sop_class = uid_of(sop_class, (size_t)class_size);
    context->before_size = (size_t)before_size;
    context->after_size = (size_t)after_size;
    if (context_id < 0 || context_id > 255 || !is_uid(context->sop_class) || longest > LONGEST_META) {
        PyErr_Format(PyExc_ValueError, "presentation context %d cannot be served", context_id);
        return -1;
    }
    pump->of_id[context_id] = (int16_t)number;
    return 0;
}

static PyObject *pump_new(PyTypeObject *type, PyObject *arguments, PyObject *named) {
    PyObject *buffer, *contexts;
    const char *prefix;
    Py_ssize_t prefix_size;
    unsigned long long max_bytes;
    int folder, durability;
    if (named && PyDict_Size(named)) return PyErr_Format(PyExc_TypeError, "Pump takes no keyword arguments");
    if (!PyArg_ParseTuple(arguments, "OO!iis#K", &buffer, &PyTuple_Type, &contexts, &folder, &durability, &prefix, &prefix_size, &max_bytes)) {
        return NULL;
    }
    Py_ssize_t number = PyTuple_Size(contexts);
    if (prefix_size >= LONGEST_NAME || durability < SYNC_NONE || durability > SYNC_GROUP || number > 256) {
        return PyErr_Format(PyExc_ValueError, "prefix, durability or contexts out of range");
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Pump *pump = (Pump *)allocate(type, 0);
    if (!pump) return NULL;
    memcpy(pump->prefix, prefix, (size_t)prefix_size + 1);
    memset(pump->of_id, 0xFF, sizeof pump->of_id); /* -1 each */
    pump->folder = folder;
    pump->durability = durability;
    pump->max_bytes = max_bytes;
    pump->instance.descriptor = -1;
    pump->table = PyMem_Calloc(number ? (size_t)number : 1, sizeof *pump->table);
    if (!pump->table) {
        Py_DECREF(pump);
        return PyErr_NoMemory();
    }
    Py_INCREF(contexts);
    pump->contexts = contexts;
    if (PyObject_GetBuffer(buffer, &pump->buffer, PyBUF_WRITABLE) < 0) {
        Py_DECREF(pump);
        return NULL;
    }
    for (Py_ssize_t n = 0; n < number; n++) {
        if (read_context(pump, PyTuple_GetItem(contexts, n), (int)n) < 0) {
            Py_DECREF(pump);
            return NULL;
        }
    }
    return (PyObject *)pump;
}

static void pump_dealloc(Pump *pump) {
    PyTypeObject *type = Py_TYPE((PyObject *)pump);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    discard_file(pump);
    if (pump->buffer.obj) PyBuffer_Release(&pump->buffer);
    Py_XDECREF(pump->contexts);
    PyMem_Free(pump->table);
    release(pump);
    Py_DECREF(type);
}

static PyMethodDef pump_methods[] = {
    {"run", (PyCFunction)pump_run, METH_VARARGS, "Receive, store and answer until something else is to be done."},
    {"answer", (PyCFunction)pump_answer, METH_NOARGS, "Return the response of the instance whose folder has been synced."},
    {"hand_over", (PyCFunction)pump_hand_over, METH_NOARGS, "Give the instance under way, and its file, to the caller."},
    {"serve_study", (PyCFunction)pump_serve_study, METH_O, "From the next instance on serve those of one study; None: of all."},
    {"discard", (PyCFunction)pump_discard, METH_NOARGS, "Throw the instance under way away, for good."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot pump_slots[] = {
    {Py_tp_new, pump_new}, {Py_tp_dealloc, pump_dealloc}, {Py_tp_methods, pump_methods}, {Py_tp_doc, "Plain C-STOREs of one association."}, {0, NULL},
};

static PyType_Spec pump_spec = {"dicom_node.scp._pump.Pump", sizeof(Pump), 0, Py_TPFLAGS_DEFAULT, pump_slots};

static int add_pump(PyObject *module) {
    PyObject *type = PyType_FromSpec(&pump_spec);
    if (!type) return -1;
    int result = PyModule_AddObjectRef(module, "Pump", type);
    Py_DECREF(type);
    return result;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, add_pump}, {0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_pump", "The receive path's accelerator.", 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__pump(void) { return PyModuleDef_Init(&module); }
