/* The plain case of a C-STORE on the wire: headers of PDUs and PDVs, the command set, the identifying UIDs, the response.

   No I/O, no Python, no memory of its own. Each function reads only between the pointers it is given and answers PLAIN, MORE (go on when
   more bytes are here) or ODD. ODD says "not the plain case", never "wrong": the Python path takes such bytes and decides.

   Source: PS3.8 9.3.5, annex E; PS3.7 6.3.1, 9.3.1; PS3.5 7.1, 7.5. */
#ifndef DICOM_NODE_PUMP_WIRE_H
#define DICOM_NODE_PUMP_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum { PLAIN, MORE, ODD } Verdict;

enum { HEADER_BYTES = 6, P_DATA_TF = 4, COMMAND = 1, LAST = 2, LONGEST_UID = 64, LONGEST_RESPONSE = 256 };

/* Where in a PDU and a PDV the stream stands. */
typedef struct {
    uint32_t pdu_left;
    uint32_t pdv_left;
    int within_pdv;
    uint8_t context_id;
    uint8_t control;
} Place;

/* A UID as it stands in the buffer, padding left out. */
typedef struct {
    const uint8_t *at;
    size_t size;
} Uid;

typedef struct {
    Uid sop_class, sop_instance;
    uint16_t message_id;
} StoreCommand;

enum { SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, IDENTIFYING };

static inline uint16_t le16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static inline uint32_t le32(const uint8_t *at) { return (uint32_t)le16(at) | (uint32_t)le16(at + 2) << 16; }

static inline uint32_t be32(const uint8_t *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

static Verdict read_pdu_header(const uint8_t *at, size_t size, Place *place) {
    if (size < 1) return MORE;
    if (at[0] != P_DATA_TF) return ODD;
    if (size < HEADER_BYTES) return MORE;
    place->pdu_left = be32(at + 2);
    return place->pdu_left < HEADER_BYTES ? ODD : PLAIN;
}

/* Only where at least HEADER_BYTES are left in the PDU, which this keeps true for the next one. */
static Verdict read_pdv_header(const uint8_t *at, size_t size, Place *place) {
    if (size < HEADER_BYTES) return MORE;
    uint32_t length = be32(at);
    if (length < 2 || length > place->pdu_left - 4) return ODD;
    uint32_t behind = place->pdu_left - 4 - length;
    if (behind && behind < HEADER_BYTES) return ODD;
    place->context_id = at[4];
    place->control = at[5];
    place->pdu_left -= HEADER_BYTES;
    place->pdv_left = length - 2;
    place->within_pdv = 1;
    return PLAIN;
}

/* Digits and single dots, 1 to 64 of them: what domain.uids.is_safe_uid takes. */
static int is_uid(Uid uid) {
    int after_digit = 0;
    if (uid.size > LONGEST_UID) return 0;
    for (size_t n = 0; n < uid.size; n++) {
        int digit = uid.at[n] >= '0' && uid.at[n] <= '9';
        if (!digit && !(uid.at[n] == '.' && after_digit)) return 0;
        after_digit = digit;
    }
    return after_digit;
}

static int same_uid(Uid one, Uid other) { return one.size == other.size && memcmp(one.at, other.at, one.size) == 0; }

/* A UID of a command set: all trailing NULs and spaces are padding. */
static Uid command_uid(const uint8_t *at, size_t size) {
    while (size && (at[size - 1] == 0 || at[size - 1] == ' ')) size--;
    return (Uid){at, size};
}

/* A whole C-STORE-RQ with a data set, its elements in order, none twice and none unknown. */
static Verdict read_store_command(const uint8_t *at, size_t size, StoreCommand *command) {
    enum { HAS_CLASS = 1, HAS_FIELD = 2, HAS_ID = 4, HAS_TYPE = 8, HAS_INSTANCE = 16, HAS_ALL = 31 };
    int seen = 0;
    long last = -1;
    for (size_t position = 0; position < size;) {
        if (size - position < 8 || le16(at + position) != 0) return ODD;
        long element = le16(at + position + 2);
        uint32_t length = le32(at + position + 4);
        position += 8;
        if (length > size - position || element <= last) return ODD;
        const uint8_t *value = at + position;
        position += length;
        last = element;
        switch (element) {
        case 0x0000: /* Command Group Length */
            if (length != 4 || le32(value) != size - position) return ODD;
            break;
        case 0x0002: /* Affected SOP Class UID */
            command->sop_class = command_uid(value, length);
            seen |= HAS_CLASS;
            break;
        case 0x0100: /* Command Field */
            if (length != 2 || le16(value) != 0x0001) return ODD;
            seen |= HAS_FIELD;
            break;
        case 0x0110: /* Message ID */
            if (length != 2) return ODD;
            command->message_id = le16(value);
            seen |= HAS_ID;
            break;
        case 0x0800: /* Command Data Set Type */
            if (length != 2 || le16(value) == 0x0101) return ODD;
            seen |= HAS_TYPE;
            break;
        case 0x1000: /* Affected SOP Instance UID */
            command->sop_instance = command_uid(value, length);
            seen |= HAS_INSTANCE;
            break;
        case 0x0700: /* Priority */
        case 0x1030: /* Move Originator Application Entity Title */
        case 0x1031: /* Move Originator Message ID */
            break;
        default:
            return ODD;
        }
    }
    return seen == HAS_ALL && is_uid(command->sop_class) && is_uid(command->sop_instance) ? PLAIN : ODD;
}

/* Size of an element's length field: 2 for a short VR, 4 for a long one, 0 for what is no VR. Source: PS3.5 7.1.2. */
static int size_of_length(const uint8_t *vr) {
#define VR(a, b) ((a) << 8 | (b))
    switch (VR(vr[0], vr[1])) {
    case VR('A', 'E'): case VR('A', 'S'): case VR('A', 'T'): case VR('C', 'S'): case VR('D', 'A'): case VR('D', 'S'): case VR('D', 'T'):
    case VR('F', 'D'): case VR('F', 'L'): case VR('I', 'S'): case VR('L', 'O'): case VR('L', 'T'): case VR('P', 'N'): case VR('S', 'H'):
    case VR('S', 'L'): case VR('S', 'S'): case VR('S', 'T'): case VR('T', 'M'): case VR('U', 'I'): case VR('U', 'L'): case VR('U', 'S'):
        return 2;
    case VR('O', 'B'): case VR('O', 'D'): case VR('O', 'F'): case VR('O', 'L'): case VR('O', 'V'): case VR('O', 'W'): case VR('S', 'Q'):
    case VR('S', 'V'): case VR('U', 'C'): case VR('U', 'N'): case VR('U', 'R'): case VR('U', 'T'): case VR('U', 'V'):
        return 4;
    default:
        return 0;
    }
#undef VR
}

/* Walks a data set from its first byte to Series Instance UID (0020,000E), as header_scan.py does. PLAIN: all four UIDs are there, once
   each, and could be UIDs; one trailing NUL is padding. Little endian; `implicit` says without VRs. */
static Verdict scan_identity(const uint8_t *at, size_t size, int implicit, Uid found[IDENTIFYING]) {
    static const uint32_t TAGS[IDENTIFYING] = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E};
    enum { DEEPEST = 32 };
    const uint32_t undefined = 0xFFFFFFFF, item = 0xFFFEE000, item_end = 0xFFFEE00D, sequence_end = 0xFFFEE0DD;
    int depth = 0;
    memset(found, 0, IDENTIFYING * sizeof *found);
    for (size_t position = 0;;) {
        if (size - position < 8) return MORE;
        const uint8_t *element = at + position;
        uint32_t tag = (uint32_t)le16(element) << 16 | le16(element + 2), length;
        size_t header = 8;
        if (implicit || tag >> 16 == 0xFFFE) {
            length = le32(element + 4);
        } else if (size_of_length(element + 4) == 2) {
            length = le16(element + 6);
        } else if (size_of_length(element + 4) == 4) {
            header = 12;
            if (size - position < header) return MORE;
            length = le32(element + 8);
            if (length == undefined && element[4] == 'U' && element[5] == 'N') return ODD; /* holds implicit VR */
        } else {
            return ODD; /* implicit VR in an explicit data set */
        }
        if (depth == 0) {
            if (tag > TAGS[SERIES]) return ODD;
            for (int n = 0; n < IDENTIFYING; n++) {
                if (tag != TAGS[n]) continue;
                if (length > LONGEST_UID + 1 || found[n].at) return ODD;
                if (size - position - header < length) return MORE;
                found[n] = (Uid){element + header, length};
                if (length && found[n].at[length - 1] == 0) found[n].size--;
                if (!is_uid(found[n])) return ODD;
            }
            if (tag == TAGS[SERIES]) return found[SOP_CLASS].at && found[SOP_INSTANCE].at && found[STUDY].at ? PLAIN : ODD;
        }
        if (tag == item_end || tag == sequence_end) {
            if (depth == 0 || length) return ODD;
            depth--;
        } else if (length == undefined) {
            if (depth >= DEEPEST || (tag == item && depth == 0)) return ODD;
            depth++;
            length = 0;
        }
        if (length > size - position - header) return MORE;
        position += header + length;
    }
}

static uint8_t *put_element(uint8_t *out, uint16_t element, const void *value, size_t size, size_t padded) {
    const uint8_t head[8] = {0, 0, (uint8_t)element, (uint8_t)(element >> 8), (uint8_t)padded, (uint8_t)(padded >> 8), 0, 0};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, value, size);
    memset(out + sizeof head + size, 0, padded - size);
    return out + sizeof head + padded;
}

static uint8_t *put_short(uint8_t *out, uint16_t element, uint16_t value) {
    const uint8_t encoded[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    return put_element(out, element, encoded, 2, 2);
}

/* A C-STORE-RSP of status 0000H as one P-DATA-TF PDU, at most LONGEST_RESPONSE bytes; returns its size. */
static size_t put_success(uint8_t *out, uint8_t context_id, uint16_t message_id, Uid sop_class, Uid sop_instance) {
    enum { PDU_AND_PDV = 2 * HEADER_BYTES, GROUP_LENGTH = 12 };
    uint8_t *end = out + PDU_AND_PDV + GROUP_LENGTH;
    end = put_element(end, 0x0002, sop_class.at, sop_class.size, (sop_class.size + 1) & ~(size_t)1);
    end = put_short(end, 0x0100, 0x8001);
    end = put_short(end, 0x0120, message_id);
    end = put_short(end, 0x0800, 0x0101);
    end = put_short(end, 0x0900, 0x0000);
    end = put_element(end, 0x1000, sop_instance.at, sop_instance.size, (sop_instance.size + 1) & ~(size_t)1);
    uint32_t body = (uint32_t)(end - out) - PDU_AND_PDV - GROUP_LENGTH, pdv = body + GROUP_LENGTH + 2;
    const uint8_t group_length[4] = {(uint8_t)body, (uint8_t)(body >> 8), 0, 0};
    put_element(out + PDU_AND_PDV, 0x0000, group_length, 4, 4);
    const uint8_t heads[PDU_AND_PDV] = {
        P_DATA_TF, 0, 0, 0, (uint8_t)((pdv + 4) >> 8), (uint8_t)(pdv + 4), 0, 0, (uint8_t)(pdv >> 8), (uint8_t)pdv, context_id, COMMAND | LAST,
    };
    memcpy(out, heads, sizeof heads);
    return (size_t)(end - out);
}

#endif
