/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The xl configuration that we write, read again by Xen's own parser, libxlutil. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <libxlutil.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "domain/xlcfg.h"

static char *written(const char *json)
{
    AUTO_JSON json_t *config = json_loads(json, 0, NULL);
    char *text = NULL;
    struct error e;

    assert_non_null(config);
    assert_int_equal(xlcfg_from_json(config, &text, &e), OK);
    assert_non_null(text);
    return text;
}

static XLU_Config *parsed(const char *text)
{
    XLU_Config *cfg = xlu_cfg_init(stderr, "test");

    assert_non_null(cfg);
    assert_int_equal(xlu_cfg_readdata(cfg, text, (int)strlen(text)), 0);
    return cfg;
}

static void has_text(const XLU_Config *cfg, const char *key, const char *wanted)
{
    const char *value = NULL;

    assert_int_equal(xlu_cfg_get_string(cfg, key, &value, 0), 0);
    assert_string_equal(value, wanted);
}

static void has_number(const XLU_Config *cfg, const char *key, long wanted)
{
    long value = -1;

    assert_int_equal(xlu_cfg_get_long(cfg, key, &value, 0), 0);
    assert_int_equal(value, wanted);
}

static void lacks(const XLU_Config *cfg, const char *key)
{
    const char *value;

    assert_int_equal(xlu_cfg_get_string(cfg, key, &value, 1), ESRCH);
}

static const char *item(const XLU_Config *cfg, const char *key, int i)
{
    XLU_ConfigList *list;
    int count;

    assert_int_equal(xlu_cfg_get_list(cfg, key, &list, &count, 0), 0);
    assert_true(i < count);
    return xlu_cfg_get_listitem(list, i);
}

static void disk_of(const XLU_Config *cfg, int i, libxl_device_disk *disk)
{
    const char *spec = item(cfg, "disk", i);

    libxl_device_disk_init(disk);
    assert_int_equal(xlu_disk_parse((XLU_Config *)cfg, 1, &spec, disk), 0);
}

static void test_pv(void **state)
{
    (void)state;
    AUTO_FREE char *text = written(
        "{\"c_info\": {\"type\": \"pv\", \"name\": \"linux01\", \"uuid\": "
        "\"a6c673f4-8ea7-672c-0f91-75fc0a12a4ce\"},"
        " \"b_info\": {\"max_vcpus\": 4, \"avail_vcpus\": [0, 1], \"max_memkb\": 262144, "
        "\"target_memkb\": 131072,"
        "  \"vcpu_hard_affinity\": [[2, 3], [2, 3], [2, 3], [2, 3]],"
        "  \"kernel\": \"/boot/vmlinuz\", \"cmdline\": \"console=hvc0 root=\\\"LABEL=a b\\\"\","
        "  \"sched_params\": {\"weight\": 512, \"cap\": 50}, \"type.pv\": {}},"
        " \"disks\": [{\"pdev_path\": \"/dev/xenvols/linux01\", \"vdev\": \"xvda\", \"backend\": "
        "\"phy\","
        "  \"format\": \"raw\", \"readwrite\": 1, \"discard_enable\": \"True\"},"
        "  {\"pdev_path\": \"/data/a,b c.iso\", \"vdev\": \"xvdc\", \"format\": \"raw\", "
        "\"readwrite\": 0,"
        "  \"is_cdrom\": 1, \"removable\": 1}],"
        " \"nics\": [{\"devid\": 0, \"mac\": \"00:16:3e:01:02:03\", \"bridge\": \"xenbr0\","
        "  \"nictype\": \"vif\"}],"
        " \"vfbs\": [{\"devid\": 0, \"vnc\": {\"enable\": \"True\", \"listen\": \"127.0.0.1\", "
        "\"display\": 3},"
        "  \"sdl\": {\"enable\": \"False\"}}],"
        " \"on_poweroff\": \"destroy\", \"on_reboot\": \"restart\", \"on_crash\": "
        "\"coredump_restart\","
        " \"on_watchdog\": \"restart_rename\", \"on_soft_reset\": \"soft_reset\"}");
    XLU_Config *cfg = parsed(text);
    libxl_device_disk disk;

    has_text(cfg, "name", "linux01");
    has_text(cfg, "type", "pv");
    has_number(cfg, "memory", 128);
    has_number(cfg, "maxmem", 256);
    has_number(cfg, "vcpus", 2);
    has_number(cfg, "maxvcpus", 4);
    has_number(cfg, "cpu_weight", 512);
    has_text(cfg, "cmdline", "console=hvc0 root=\"LABEL=a b\"");
    has_text(cfg, "on_poweroff", "destroy");
    has_text(cfg, "on_crash", "coredump-restart");
    has_text(cfg, "on_watchdog", "rename-restart");
    has_text(cfg, "on_soft_reset", "soft-reset");
    assert_string_equal(item(cfg, "cpus", 3), "2,3");
    assert_string_equal(item(cfg, "vif", 0), "mac=00:16:3e:01:02:03,bridge=xenbr0,type=vif");
    assert_string_equal(item(cfg, "vfb", 0), "vnc=1,vnclisten=127.0.0.1,vncdisplay=3,sdl=0");

    disk_of(cfg, 0, &disk);
    assert_string_equal(disk.pdev_path, "/dev/xenvols/linux01");
    assert_string_equal(disk.vdev, "xvda");
    assert_int_equal(disk.backend, LIBXL_DISK_BACKEND_PHY);
    assert_int_equal(disk.readwrite, 1);
    assert_true(libxl_defbool_val(disk.discard_enable));
    libxl_device_disk_dispose(&disk);
    disk_of(cfg, 1, &disk);
    assert_string_equal(disk.pdev_path, "/data/a,b c.iso");
    assert_int_equal(disk.is_cdrom, 1);
    assert_int_equal(disk.readwrite, 0);
    libxl_device_disk_dispose(&disk);
    xlu_cfg_destroy(cfg);
    assert_null(strstr(text, "not carried over"));
}

static void test_hvm(void **state)
{
    (void)state;
    AUTO_FREE char *text = written(
        "{\"c_info\": {\"type\": \"hvm\", \"name\": \"w\"}, \"b_info\": {\"target_memkb\": 1048576,"
        " \"type.hvm\": {\"boot\": \"dc\", \"vga\": {\"kind\": \"cirrus\"}, \"vnc\": {\"enable\": "
        "\"False\"},"
        " \"serial_list\": [\"pty\", \"null\"], \"viridian\": \"True\", \"mmio_hole_memkb\": "
        "77}}}");
    XLU_Config *cfg = parsed(text);

    has_number(cfg, "memory", 1024);
    has_text(cfg, "boot", "dc");
    has_text(cfg, "vga", "cirrus");
    has_number(cfg, "vnc", 0);
    has_number(cfg, "viridian", 1);
    assert_string_equal(item(cfg, "serial", 1), "null");
    xlu_cfg_destroy(cfg);
    /* No word is known for it here: it is named, not dropped silently. */
    assert_non_null(strstr(text, "# not carried over: b_info.type.hvm.mmio_hole_memkb\n"));
}

/* What a guest would miss when it boots: graphics memory, shadow memory, the limit of its
 * interface, what it knows of Xen as Windows, its firmware. */
static void test_settings_of_hvm(void **state)
{
    (void)state;
    AUTO_FREE char *text = written(
        "{\"c_info\": {\"type\": \"hvm\", \"name\": \"w\"}, \"b_info\": {\"video_memkb\": 16384, "
        "\"shadow_memkb\": 9000, \"iomem\": [{\"start\": 1}],"
        " \"type.hvm\": {\"viridian\": \"True\", \"viridian_enable\": [1, 8], "
        "\"viridian_disable\": [6],"
        " \"system_firmware\": \"/boot/OVMF.fd\", \"smbios_firmware\": \"/boot/smbios\"}},"
        " \"nics\": [{\"bridge\": \"br0\", \"rate_bytes_per_interval\": 62500, "
        "\"rate_interval_usecs\": 50000}]}");
    XLU_Config *cfg = parsed(text);
    AUTO_FREE char *left_out = xlcfg_left_out(text);
    libxl_device_nic nic;

    has_number(cfg, "videoram", 16);
    has_number(cfg, "shadow_memory", 9);
    has_text(cfg, "bios_path_override", "/boot/OVMF.fd");
    has_text(cfg, "smbios_firmware", "/boot/smbios");
    assert_string_equal(item(cfg, "viridian", 0), "defaults");
    assert_string_equal(item(cfg, "viridian", 1), "freq");
    assert_string_equal(item(cfg, "viridian", 2), "stimer");
    assert_string_equal(item(cfg, "viridian", 3), "!crash_ctl");
    assert_string_equal(item(cfg, "vif", 0), "bridge=br0,rate=1250000B/s@50000us");
    libxl_device_nic_init(&nic);
    assert_int_equal(xlu_vif_parse_rate(cfg, "1250000B/s@50000us", &nic), 0);
    assert_int_equal(nic.rate_bytes_per_interval, 62500);
    assert_int_equal(nic.rate_interval_usecs, 50000);
    libxl_device_nic_dispose(&nic);
    xlu_cfg_destroy(cfg);
    assert_string_equal(left_out, "b_info.iomem[0].start");
}

/* A guest's owner may choose some of these; none may become a setting of its own. */
static void test_hostile(void **state)
{
    (void)state;
    AUTO_FREE char *text = written(
        "{\"c_info\": {\"type\": \"pvh\", \"name\": \"x\"}, \"evil\\nkernel = \\\"/tmp/k\\\"\": 1,"
        " \"b_info\": {\"cmdline\": \"a' b\\\" c\", \"kernel\": \"k\\nramdisk = 'r'\", "
        "\"bootloader\": \"\\\\x\"},"
        " \"disks\": [{\"pdev_path\": \"/dev/a',backendtype=qdisk\", \"vdev\": \"xvda\", "
        "\"readwrite\": 1},"
        "  {\"pdev_path\": \"/dev/b\", \"vdev\": \"xvdb,access=ro\", \"readwrite\": 1},"
        "  {\"pdev_path\": \"/dev/c\", \"vdev\": \"xvdc\", \"readwrite\": 1}],"
        " \"nics\": [{\"bridge\": \"br0,script=/tmp/x\"}]}");
    XLU_Config *cfg = parsed(text);
    libxl_device_disk disk;

    has_text(cfg, "name", "x");
    lacks(cfg, "cmdline");
    lacks(cfg, "kernel");
    lacks(cfg, "ramdisk");
    lacks(cfg, "bootloader");
    disk_of(cfg, 0, &disk);
    assert_string_equal(disk.vdev, "xvdc");
    libxl_device_disk_dispose(&disk);
    xlu_cfg_destroy(cfg);
    assert_non_null(strstr(text, "# not carried over: b_info.cmdline\n"));
    assert_non_null(strstr(text, "# not carried over: disks[0].pdev_path\n"));
    assert_non_null(strstr(text, "# not carried over: nics[0].bridge\n"));
}

static void test_nameless(void **state)
{
    (void)state;
    AUTO_JSON json_t *config = json_object();
    char *text = NULL;
    struct error e;

    assert_int_equal(xlcfg_from_json(config, &text, &e), DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pv),
        cmocka_unit_test(test_hvm),
        cmocka_unit_test(test_settings_of_hvm),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_nameless),
    };

    return cmocka_run_group_tests_name("xlcfg", tests, NULL, NULL);
}
