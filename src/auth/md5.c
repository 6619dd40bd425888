#include "weir/auth/md5.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

/* hex(md5(a b)) after "md5". */
static bool hash_two(struct slice a, struct slice b, char out[MD5_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_ok = context != NULL && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1 &&
                 EVP_DigestUpdate(context, a.data, a.len) == 1 &&
                 EVP_DigestUpdate(context, b.data, b.len) == 1 && EVP_DigestFinal_ex(context, sum, NULL) == 1;
    EVP_MD_CTX_free(context);
    out[0] = '\0';
    if (!is_ok)
        return false;
    memcpy(out, "md5", 3);
    for (size_t i = 0; i < 16; i++) {
        out[3 + 2 * i] = hex[sum[i] >> 4];
        out[4 + 2 * i] = hex[sum[i] & 15];
    }
    out[MD5_TEXT_SIZE - 1] = '\0';
    return true;
}

bool md5_hash(struct slice password, struct slice user, char out[MD5_TEXT_SIZE])
{
    return hash_two(password, user, out);
}

bool md5_answer(const char *stored, const uint8_t salt[4], char out[MD5_TEXT_SIZE])
{
    out[0] = '\0';
    return md5_is_hash(slice_str(stored)) && hash_two(slice_make(stored + 3, 32), slice_make(salt, 4), out);
}

bool md5_is_hash(struct slice text)
{
    if (text.len != 35 || memcmp(text.data, "md5", 3) != 0)
        return false;
    for (size_t i = 3; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

bool md5_answer_is_right(const char *stored, const uint8_t salt[4], struct slice answer)
{
    char expected[MD5_TEXT_SIZE];
    bool is_right = md5_answer(stored, salt, expected) && answer.len == MD5_TEXT_SIZE - 1 &&
                    CRYPTO_memcmp(answer.data, expected, answer.len) == 0;
    OPENSSL_cleanse(expected, sizeof(expected));
    return is_right;
}
