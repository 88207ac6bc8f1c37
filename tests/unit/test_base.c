/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running programs, finding domsnap-xen, files that survive, seals, sizes of exception stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/run.h"
#include "base/seal.h"
#include "base/sha256_pair.h"
#include "base/time.h"
#include "domain/driver.h"
#include "domain/savefile.h"
#include "random.h"
#include "repo/manifest.h"
#include "volume/lvm_report.h"
#include "volume/store_size.h"

#define MIB UINT64_C(1048576)

/* ---- run ---- */

static int run(const char *const argv[], unsigned timeout_s, char **out, struct error *e)
{
    return run_program(&(struct run){.argv = argv, .timeout_s = timeout_s, .out = out}, e);
}

static void output_is_collected(void **state)
{
    const char *const argv[] = {"seq", "1", "200000", NULL};
    AUTO_FREE char *out = NULL;
    struct error e;

    (void)state;
    assert_int_equal(run(argv, 60, &out, &e), OK);
    assert_int_equal(strlen(out), 1288895);
}

static void the_environment_is_clean(void **state)
{
    const char *const argv[] = {"env", NULL};
    AUTO_FREE char *out = NULL;
    struct error e;

    (void)state;
    setenv("LVM_SYSTEM_DIR", "/evil", 1);
    assert_int_equal(run(argv, 60, &out, &e), OK);
    assert_null(strstr(out, "evil"));
    assert_non_null(strstr(out, "LC_ALL=C\n"));
}

static void no_descriptor_is_inherited(void **state)
{
    const char *const argv[] = {"ls", "/proc/self/fd", NULL};
    AUTO_FREE char *out = NULL;
    int leak = open("/dev/null", O_RDONLY);
    struct error e;

    (void)state;
    assert_int_equal(run(argv, 60, &out, &e), OK);
    assert_string_equal(out, "0\n1\n2\n3\n"); /* 3 is ls's own, of the folder */
    close(leak);
}

static void failures_speak(void **state)
{
    const char *const fails[] = {"ls", "/nonexistent", NULL};
    const char *const missing[] = {"no-such-program", NULL};
    const char *const killed[] = {"perl", "-e", "kill 9, $$", NULL};
    struct error e;

    (void)state;
    assert_int_equal(run(fails, 60, NULL, &e), FAILED);
    assert_non_null(strstr(e.text, "ls: exit 2: ls: cannot access '/nonexistent'"));
    assert_int_equal(run(missing, 60, NULL, &e), FAILED);
    assert_non_null(strstr(e.text, "no-such-program: exit 127: No such file"));
    assert_int_equal(run(killed, 60, NULL, &e), FAILED);
    assert_non_null(strstr(e.text, "killed by signal KILL"));
}

static void a_hanging_program_is_ended(void **state)
{
    const char *const argv[] = {"sleep", "1000", NULL};
    uint64_t begin = time_monotonic_ns();
    struct error e;

    (void)state;
    assert_int_equal(run(argv, 1, NULL, &e), TIMED_OUT);
    assert_true(time_monotonic_ns() - begin < UINT64_C(60000000000));
}

/* A daemon that keeps our pipe open must not keep us. */
static void a_daemon_is_not_waited_for(void **state)
{
    const char *const argv[] = {"perl", "-e", "print 'x'; fork or sleep 30", NULL};
    uint64_t begin = time_monotonic_ns();
    AUTO_FREE char *out = NULL;
    struct error e;

    (void)state;
    assert_int_equal(run(argv, 60, &out, &e), OK);
    assert_true(time_monotonic_ns() - begin < UINT64_C(20000000000));
}

/* ---- domsnap-xen ---- */

static void install(const char *folder, const char *version, mode_t mode)
{
    AUTO_FREE char *path = format_text("%s/xen-%s", folder, version);
    AUTO_FREE char *program = format_text("%s/domsnap-xen", path);
    struct error e;
    int fd;

    assert_int_equal(dir_make(path, &e), OK);
    fd = open(program, O_CREAT | O_WRONLY, mode);
    assert_true(fd >= 0);
    close(fd);
}

/* `expected`: the version that it is for; NULL: none is found. */
static void check_program(const char *folder, const char *version, const char *expected)
{
    AUTO_FREE char *program = domain_xen_program(folder, version);
    AUTO_FREE char *path = expected ? format_text("%s/xen-%s/domsnap-xen", folder, expected) : NULL;

    if (path)
        assert_string_equal(program, path);
    else
        assert_null(program);
}

static void the_program_fits_the_xen_that_runs(void **state)
{
    char folder[] = "/tmp/domsnap-programs-XXXXXX";
    const char *const away[] = {"rm", "-r", folder, NULL};
    struct error e;

    (void)state;
    assert_non_null(mkdtemp(folder));
    check_program(folder, NULL, NULL);
    check_program(folder, "4.17", NULL);

    install(folder, "4.17", 0700);
    install(folder, "4.9", 0700);
    check_program(folder, "4.17", "4.17");
    check_program(folder, "4.9", "4.9");
    check_program(folder, "4.1", NULL);
    check_program(folder, "4.20", NULL);
    check_program(folder, NULL, "4.17");

    install(folder, "4.20", 0700);
    install(folder, "4.21", 0600); /* not to be run */
    check_program(folder, "4.17", "4.17");
    check_program(folder, "4.20", "4.20");
    check_program(folder, "4.21", NULL);
    check_program(folder, NULL, "4.20");
    assert_int_equal(run(away, 60, NULL, &e), OK);
}

/* ---- limits of memory ---- */

static void write_limit(const char *group, const char *file, const char *text)
{
    AUTO_FREE char *path = format_text("%s/%s", group, file);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void the_closest_limit_of_memory_counts(void **state)
{
    char root[] = "/tmp/domsnap-groups-XXXXXX";
    AUTO_FREE char *slice = NULL, *service = NULL;
    const char *const away[] = {"rm", "-r", root, NULL};
    struct error e;

    (void)state;
    assert_non_null(mkdtemp(root));
    slice = format_text("%s/backup.slice", root);
    service = format_text("%s/it.service", slice);
    assert_int_equal(dir_make(service, &e), OK);
    assert_int_equal(memory_left_by_groups(root, "/"), UINT64_MAX);
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), UINT64_MAX);

    write_limit(slice, "memory.max", "1000\n");
    write_limit(slice, "memory.current", "800\n");
    write_limit(service, "memory.max", "max\n");
    write_limit(service, "memory.current", "300\n");
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), 200);

    write_limit(service, "memory.max", "400\n");
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), 100);

    write_limit(service, "memory.stat", "anon 50\ninactive_file 40\nactive_file 30\n");
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), 170);

    write_limit(root, "memory.max", "2000\n");
    write_limit(root, "memory.current", "1990\n");
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), 10);
    assert_int_equal(memory_left_by_groups(root, "/"), 10);

    write_limit(service, "memory.current", "900\n");
    assert_int_equal(memory_left_by_groups(root, "/backup.slice/it.service"), 0);
    assert_int_equal(run(away, 60, NULL, &e), OK);
}

/* ---- seals ---- */

static void a_seal_sees_every_change(void **state)
{
    AUTO_JSON json_t *json = json_pack("{s:i, s:[s]}", "b", 1, "a", "x");
    struct error e;

    (void)state;
    assert_int_equal(seal_check(json, &e), DAMAGED);
    assert_int_equal(seal_add(json, &e), OK);
    assert_int_equal(seal_check(json, &e), OK);
    assert_int_equal(seal_add(json, &e), OK);
    assert_int_equal(seal_check(json, &e), OK);
    json_object_set_new(json, "b", json_integer(2));
    assert_int_equal(seal_check(json, &e), DAMAGED);
    json_object_set_new(json, "b", json_integer(1));
    json_object_set_new(json, "c", json_null());
    assert_int_equal(seal_check(json, &e), DAMAGED);
}

/* ---- sums of two at once ---- */

static void check_pair(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    static int (*const ways[])(struct sha256_part, struct sha256_part, size_t,
                               struct error *) = {sha256_pair, sha256_pair_plain};
    uint8_t expected[2][SHA256_BYTES];
    struct error e;

    assert_true(EVP_Digest(a, bytes, expected[0], NULL, EVP_sha256(), NULL));
    assert_true(EVP_Digest(b, bytes, expected[1], NULL, EVP_sha256(), NULL));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        /* One byte off: where the sums go need not be aligned either. */
        uint8_t sums[1 + sizeof expected + 1] = {0};

        assert_int_equal(ways[i]((struct sha256_part){a, sums + 1},
                                 (struct sha256_part){b, sums + 1 + SHA256_BYTES}, bytes, &e),
                         OK);
        assert_memory_equal(sums + 1, expected, sizeof expected);
        assert_int_equal(sums[0] | sums[sizeof sums - 1], 0);
    }
}

static void two_sums_at_once_are_libcryptos(void **state)
{
    /* Around the lengths at which the padding needs another block; and chunks. */
    static const size_t lengths[] = {0,   1,   55,  56,  63,        64,         65,
                                     119, 120, 127, 128, 64u << 10, 256u << 10, (256u << 10) + 57};
    size_t most = (256u << 10) + 100;
    AUTO_FREE uint8_t *a = malloc(most), *b = malloc(most);

    (void)state;
    srandom(1);
    fill_random(a, most);
    fill_random(b, most);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        check_pair(a, b, lengths[i]);
        check_pair(a + 1, b + 15, lengths[i]);
        check_pair(a, a, lengths[i]);
    }
    for (int i = 0; i < 1000; i++)
        check_pair(a + random() % 64, b + random() % 64, (size_t)random() % 301);
}

/* ---- the sizes of exception stores ---- */

#define EXTENT (4 * MIB)

static void a_store_never_exceeds_what_can_be_needed(void **state)
{
    struct store_size s = {.origin_bytes = 256 * MIB};
    struct error e;

    (void)state;
    assert_int_equal(store_size_plan(&s, 1, 100000 * MIB, 400 * MIB, EXTENT, &e), OK);
    assert_int_equal(s.size_bytes, s.full_bytes);
    assert_true(s.full_bytes > 256 * MIB && s.full_bytes <= 260 * MIB);
}

static void where_there_is_plenty_a_store_is_full(void **state)
{
    struct store_size s[2] = {{.origin_bytes = 10240 * MIB}, {.origin_bytes = 20480 * MIB}};
    struct error e;

    (void)state;
    assert_int_equal(store_size_plan(s, 2, 30720 * MIB, 61600 * MIB, EXTENT, &e), OK);
    assert_int_equal(s[0].size_bytes, s[0].full_bytes);
    assert_int_equal(s[1].size_bytes, s[1].full_bytes);
    assert_true(s[0].full_bytes + s[1].full_bytes <= 30800 * MIB);
    assert_int_equal(store_size_plan(s, 2, 30720 * MIB, 61400 * MIB, EXTENT, &e), OK);
    assert_true(s[0].size_bytes < s[0].full_bytes);
    assert_true(s[1].size_bytes < s[1].full_bytes);
}

static void a_store_lasts_as_long_as_the_copy(void **state)
{
    struct store_size alone = {.origin_bytes = 10240 * MIB}, among = alone;
    struct error e;

    (void)state;
    assert_int_equal(store_size_plan(&alone, 1, 10240 * MIB, 20000 * MIB, EXTENT, &e), OK);
    assert_int_equal(alone.size_bytes, 2624 * MIB);
    /* Another disk is copied beside it: it takes longer. */
    assert_int_equal(store_size_plan(&among, 1, 20480 * MIB, 20000 * MIB, EXTENT, &e), OK);
    assert_true(among.size_bytes > alone.size_bytes);
}

static void scarce_space_is_shared_and_some_kept_back(void **state)
{
    struct store_size s[3] = {
        {.origin_bytes = 10240 * MIB}, {.origin_bytes = 1024 * MIB}, {.origin_bytes = 8 * MIB}};
    uint64_t sum = 0;
    struct error e;

    (void)state;
    assert_int_equal(store_size_plan(s, 3, 11272 * MIB, 1000 * MIB, EXTENT, &e), OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].size_bytes % EXTENT, 0);
        assert_true(s[i].size_bytes >= 12 * MIB);
        sum += s[i].size_bytes;
    }
    assert_true(sum <= 800 * MIB);
    assert_true(s[0].size_bytes > s[1].size_bytes);
}

static void a_report_of_lvs_is_read_whatever_lvm_conf_says(void **state)
{
    static const char *const reports[] = {
        "{\"report\":[{\"lv\":[{\"lv_size\":\"8388608\",\"vg_free\":\"0\",\"vg_extent_size\":"
        "\"4194304\","
        "\"lv_layout\":\"linear\",\"lv_allocation_locked\":\"\",\"vg_shared\":\"\","
        "\"devices\":\"/dev/sda3(0)\"},{\"devices\":\"/dev/sdb(7),/dev/sda3(9)\"}]}]}",
        "{\"report\":[{\"lv\":[{\"lv_size\":\"8388608\",\"vg_free\":\"0\",\"vg_extent_size\":"
        "\"4194304\","
        "\"lv_layout\":\"linear\",\"lv_allocation_locked\":\"0\",\"vg_shared\":\"1\","
        "\"devices\":\"\"}]}]}",
    };
    struct lvm_report r;
    struct error e;

    (void)state;
    assert_int_equal(lvm_report_parse(&r, reports[0], &e), OK);
    assert_false(r.locked);
    assert_false(r.shared);
    assert_int_equal(json_array_size(r.devices), 2);
    assert_string_equal(json_string_value(json_array_get(r.devices, 0)), "/dev/sda3");
    assert_string_equal(json_string_value(json_array_get(r.devices, 1)), "/dev/sdb");
    lvm_report_release(&r);
    assert_int_equal(lvm_report_parse(&r, reports[1], &e), OK);
    assert_false(r.locked);
    assert_true(r.shared);
    assert_int_equal(json_array_size(r.devices), 0);
    lvm_report_release(&r);
}

static void no_room_is_said(void **state)
{
    struct store_size s[2] = {{.origin_bytes = 10240 * MIB}, {.origin_bytes = 10240 * MIB}};
    struct error e;

    (void)state;
    assert_int_equal(store_size_plan(s, 2, 20480 * MIB, 0, EXTENT, &e), NO_SPACE);
    assert_int_equal(store_size_plan(s, 2, 20480 * MIB, 79 * MIB, EXTENT, &e), NO_SPACE);
    assert_non_null(strstr(e.text, "--cold"));
    assert_int_equal(store_size_plan(s, 2, 20480 * MIB, 80 * MIB, EXTENT, &e), OK);
}

static void a_store_grows_in_time_and_not_beyond(void **state)
{
    (void)state;
    assert_int_equal(store_size_grow(10 * MIB, 100 * MIB, 1000 * MIB), 0);
    assert_int_equal(store_size_grow(50 * MIB, 100 * MIB, 1000 * MIB), 50 * MIB);
    assert_int_equal(store_size_grow(99 * MIB, 100 * MIB, 120 * MIB), 20 * MIB);
    assert_int_equal(store_size_grow(120 * MIB, 120 * MIB, 120 * MIB), 0);
    assert_int_equal(store_size_grow(20 * MIB, 32 * MIB, 1000 * MIB), 32 * MIB);
}

/* ---- what comes from outside ---- */

static void impossible_names_are_refused(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "-x", ".hidden", "a\nb", "a@b"};
    char longest[DOMAIN_NAME_MAX + 2];
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(domain_name_check(bad[i], &e), USAGE);
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(domain_name_check(longest, &e), USAGE);
    longest[DOMAIN_NAME_MAX] = '\0';
    assert_int_equal(domain_name_check(longest, &e), OK);
    assert_int_equal(domain_name_check("linux01.example_com+x y", &e), OK);
}

static int read_head(const void *bytes, size_t len, json_t **config)
{
    struct error e;
    int fds[2], rc;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write_full(fds[1], bytes, len), 0);
    close(fds[1]);
    rc = savefile_read_head(fds[0], config, &e);
    close(fds[0]);
    return rc;
}

static void save_heads_are_not_trusted(void **state)
{
    AUTO_JSON json_t *config = json_pack("{s:{s:s}}", "c_info", "name", "linux01");
    unsigned char head[4096];
    json_t *back = NULL;
    struct error e;
    ssize_t len;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(savefile_write_head(fds[1], config, &e), OK);
    len = read(fds[0], head, sizeof head);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(read_head(head, (size_t)len, &back), OK);
    assert_true(json_equal(config, back));
    json_decref(back);
    assert_memory_equal(head, "Xen saved domain, xl format\n \0 \r\x04\x03\x02\x01\x03\0\0\0", 40);
    for (size_t cut = 0; cut < (size_t)len; cut++)
        assert_int_equal(read_head(head, cut, &back), DAMAGED);
    memset(head + 44, 0xff, 4); /* optional_data_len: 4 GiB */
    assert_int_equal(read_head(head, (size_t)len, &back), DAMAGED);
    head[36] = 1; /* an old stream */
    assert_int_equal(read_head(head, (size_t)len, &back), UNSUPPORTED);
}

static void manifests_are_not_trusted(void **state)
{
    static const char *const good =
        "{'format':'domsnap-manifest','version':1,'domsnap':'0.0.9','created':'x','host':'h',"
        "'hypervisor':'v',"
        "'method':'cold','domain':{'name':'n','uuid':'u','type':'pv','vcpus':1,'memory_bytes':1},"
        "'ram':{'file':'n.sav','bytes':1,'root':'%064d'},'disks':[{'vdev':'xvda','path':'/p',"
        "'driver':'lvm','image':{'file':'i','bytes':1,'root':'%064d'}}],'left_out':[],"
        "'pause':{'save_ns':0,'disks_ns':0,'resume_ns':0,'total_ns':0,'asked_ns':0}}";
    static const struct {
        const char *from, *to;
    } changes[] = {
        {"n.sav", "../n.sav"},
        {"n.sav", ".n"},
        {"n.sav", "a/b"},
        {"'bytes':1", "'bytes':-1"},
        {"'bytes':1", "'bytes':1.5"},
        {"'bytes':1", "'bytes':'1'"},
        {"000", "00g"},
        {"'version':1", "'version':2"},
        {"'left_out':[]", "'left_out':1"},
        {"'vdev':'xvda',", ""},
        {"domsnap-manifest", "x"},
        {"'host':'h'", "'host':'\\u001b[2J'"},
    };
    AUTO_FREE char *text = format_text(good, 0, 0);
    struct manifest m;
    struct error e;

    (void)state;
    for (char *p = text; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    for (size_t i = 0; i <= sizeof changes / sizeof *changes; i++) {
        AUTO_JSON json_t *json = NULL;
        AUTO_JSON json_t *again = NULL;
        AUTO_FREE char *changed = strdup(text);

        if (i > 0) {
            AUTO_FREE char *from = strdup(changes[i - 1].from), *to = strdup(changes[i - 1].to);
            char *at;

            for (char *p = from; *p; p++)
                *p = *p == '\'' ? '"' : *p;
            for (char *p = to; *p; p++)
                *p = *p == '\'' ? '"' : *p;
            at = strstr(text, from);
            assert_non_null(at);
            free(changed);
            changed = format_text("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        }
        json = json_loads(changed, 0, NULL);
        assert_non_null(json);
        if (i == 0) {
            assert_int_equal(manifest_parse(&m, json, MANIFEST_FOLDER, &e), OK);
            /* It stays who made it. */
            again = manifest_to_json(&m);
            assert_string_equal(json_string_value(json_object_get(again, "domsnap")), "0.0.9");
            manifest_release(&m);
        } else if (manifest_parse(&m, json, MANIFEST_FOLDER, &e) >= 0) {
            fail_msg("taken with %s", changes[i - 1].to);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_collected),
        cmocka_unit_test(the_environment_is_clean),
        cmocka_unit_test(no_descriptor_is_inherited),
        cmocka_unit_test(failures_speak),
        cmocka_unit_test(a_hanging_program_is_ended),
        cmocka_unit_test(a_daemon_is_not_waited_for),
        cmocka_unit_test(the_program_fits_the_xen_that_runs),
        cmocka_unit_test(the_closest_limit_of_memory_counts),
        cmocka_unit_test(a_seal_sees_every_change),
        cmocka_unit_test(two_sums_at_once_are_libcryptos),
        cmocka_unit_test(a_store_never_exceeds_what_can_be_needed),
        cmocka_unit_test(where_there_is_plenty_a_store_is_full),
        cmocka_unit_test(a_store_lasts_as_long_as_the_copy),
        cmocka_unit_test(scarce_space_is_shared_and_some_kept_back),
        cmocka_unit_test(no_room_is_said),
        cmocka_unit_test(a_report_of_lvs_is_read_whatever_lvm_conf_says),
        cmocka_unit_test(a_store_grows_in_time_and_not_beyond),
        cmocka_unit_test(impossible_names_are_refused),
        cmocka_unit_test(save_heads_are_not_trusted),
        cmocka_unit_test(manifests_are_not_trusted),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
