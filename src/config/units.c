/*
 * Times and sizes as text. Times are read with a unit after the number too (ms, s, min, h, d), sizes in any
 * case.
 */
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECOND 1000000

/* Digits with an optional fraction of up to six places -> millionths. */
static bool parse_micros(const char *text, const char **end, int64_t *out)
{
    int64_t value = 0;
    int digits = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++, digits++) {
        if (value > INT64_MAX / 20 / SECOND)
            return false;
        value = value * 10 + (*p - '0');
    }
    value *= SECOND;
    if (*p == '.') {
        int64_t unit = SECOND / 10;
        for (p++; *p >= '0' && *p <= '9'; p++, digits++, unit /= 10)
            value += (*p - '0') * unit;
    }
    *end = p;
    *out = value;
    return digits > 0;
}

bool units_parse_seconds(const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t per_thousand; /* of a second */
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *unit;
    int64_t micros;
    if (!parse_micros(text, &unit, &micros))
        return false;
    while (*unit == ' ')
        unit++;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) != 0)
            continue;
        if (units[i].per_thousand < 1000)
            *out = micros / (1000 / units[i].per_thousand);
        else if (micros > INT64_MAX / (units[i].per_thousand / 1000))
            return false;
        else
            *out = micros * (units[i].per_thousand / 1000);
        return true;
    }
    return false;
}

bool units_parse_bytes(const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        int shift;
    } units[] = {{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}};
    char *end;
    errno = 0;
    if (text[0] < '0' || text[0] > '9')
        return false;
    long long value = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(end, units[i].name) != 0)
            continue;
        if (value > (INT64_MAX >> units[i].shift))
            return false;
        *out = (int64_t)value << units[i].shift;
        return true;
    }
    return false;
}

void units_format_seconds(int64_t micros, struct buf *out)
{
    buf_printf(out, "%" PRId64, micros / SECOND);
    int rest = (int)(micros % SECOND);
    if (rest == 0)
        return;
    char digits[16];
    snprintf(digits, sizeof(digits), "%06d", rest);
    for (size_t len = 6; len > 0 && digits[len - 1] == '0'; len--)
        digits[len - 1] = '\0';
    buf_printf(out, ".%s", digits);
}

void units_format_bytes(int64_t bytes, struct buf *out)
{
    static const char *const units[] = {"", "kB", "MB", "GB"};
    size_t unit = 0;
    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    buf_printf(out, "%" PRId64 "%s", bytes, units[unit]);
}
