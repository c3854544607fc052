/* SPDX-License-Identifier: MIT */
/* app/main.c - skinkd: options, signals and exit statuses. What it does with them is in assembly.c and config.c. */
#include "app/allocate.h"
#include "app/assembly.h"
#include "app/config.h"
#include "app/log.h"
#include "app/notify.h"
#include "app/reload.h"
#include "app/signals.h"
#include "skink/crash.h"
#include "skink/error.h"
#include "skink/hooks.h"
#include "skink/version.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { ACTION_SERVE, ACTION_CHECK, ACTION_PRINT, ACTION_VERSION, ACTION_HELP };

struct options {
    enum action action;
    const char *file;
    const char *user;
    const char **settings; /* each list has room for as many as there are arguments */
    size_t setting_count;
    const char **modules;
    size_t module_count;
};

static const char help_text[] =
    "usage: skinkd [--config FILE] [--module FILE.so]... [--set KEY=VALUE]... [--user NAME[:GROUP]]\n"
    "              [--check] [--print-config] [--version] [--help]\n"
    "\n"
    "  --config FILE       read this YAML file; without it every key has its default\n"
    "  --module FILE.so    load handlers from this shared object; may be given several times\n"
    "  --set KEY=VALUE     set one key, such as loop.deadlock_timeout=1s; wins over environment and file\n"
    "  --user NAME[:GROUP] become this user once the sockets are open\n"
    "  --check             check the configuration, say what is wrong with it, and end\n"
    "  --print-config      print every key with its value and where that comes from, and end\n"
    "  --version           print the version and end\n"
    "  --help              print this and end\n"
    "\n"
    "A key can also be set in the environment: SKINK_LOOP_DEADLOCK_TIMEOUT=1s.\n"
    "SIGTERM and SIGINT end the server gracefully, a second one at once. SIGHUP reads the configuration again,\n"
    "SIGUSR1 opens the logs anew, SIGUSR2 goes on in spite of recovery's limits.\n"
    "Exit status: 0 all well; 1 cannot start; 2 mistake in configuration or usage; 3 the stop cut something;\n"
    "70 recovery.on_limit says drain, and a limit was reached.\n"
    "See skinkd(8).\n";

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        { "config", required_argument, NULL, 'c' },
        { "module", required_argument, NULL, 'm' },
        { "set", required_argument, NULL, 's' },
        { "check", no_argument, NULL, 'k' },
        { "print-config", no_argument, NULL, 'p' },
        { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { "user", required_argument, NULL, 'u' },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == 'c')
            options->file = optarg;
        else if (option == 'm')
            options->modules[options->module_count++] = optarg;
        else if (option == 'u')
            options->user = optarg;
        else if (option == 's')
            options->settings[options->setting_count++] = optarg;
        else if (option == 'k')
            options->action = ACTION_CHECK;
        else if (option == 'p')
            options->action = ACTION_PRINT;
        else if (option == 'v')
            options->action = ACTION_VERSION;
        else if (option == 'h')
            options->action = ACTION_HELP;
        else
            return false; /* getopt has said why */
    }
    if (optind < argc) fprintf(stderr, "skinkd: %s: expected an option\n", argv[optind]);
    return optind == argc;
}

static void install_hooks(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = skink__log_hook;
    hooks.panic = skink__log_panic_hook;
    (void)!skink_hooks_set(&hooks); /* the first call in this process, with fields this version knows */
    /* A thread that is stuck inside malloc stops nobody else then, libuv included.
     * Before libuv's first use it cannot fail. */
    (void)!skink_uv_replace_allocator();
}

/* Requests are being answered. */
static void announce(struct assembly *assembly)
{
    int error = skink__notify_watchdog_start(skink__assembly_recovery(assembly));
    if (error) skink__log_line(SKINK_LOG_ERROR, "event=notify_failed error=\"%s\"", skink_strerror(error));
    skink__notify("READY=1");
}

static bool configure_log(const struct config *config)
{
    const struct config_value *values = config->values;
    struct log_options options = { .level = (skink_log_level)values[CONFIG_LOG_LEVEL].number,
                                   .json = values[CONFIG_LOG_FORMAT].number == 1,
                                   .access = values[CONFIG_LOG_ACCESS].number == 1,
                                   .file = values[CONFIG_LOG_FILE].text,
                                   .access_file = values[CONFIG_LOG_ACCESS_FILE].text };
    char complaint[512];
    if (skink__log_configure(&options, complaint, sizeof complaint)) return true;
    fprintf(stderr, "skinkd: %s\n", complaint);
    return false;
}

/* Do what the signals say, until one of them says stop: its number, or 0 when the process itself wants it. */
static int wait_for_stop(struct config *config, const struct config_sources *sources, struct assembly *assembly)
{
    for (;;) {
        int signal_number = skink__signals_wait();
        if (signal_number == SIGUSR2)
            skink__assembly_resume(assembly);
        else if (signal_number == SIGUSR1)
            skink__log_reopen();
        else if (signal_number == SIGHUP)
            skink__reload(config, sources, assembly);
        else
            return signal_number;
    }
}

static int serve(struct config *config, const struct config_sources *sources, const struct options *options)
{
    struct assembly *assembly = NULL;
    skink__signals_block();
    skink__log_open(STDERR_FILENO);
    if (!configure_log(config)) return EXIT_STATUS_CANNOT_START;
    skink__notify_open();
    install_hooks();
    (void)!skink_crash_report(NULL); /* the line goes where the log goes; without it the process dies just the same */
    enum exit_status status =
        skink__assembly_start(config, options->modules, options->module_count, options->user, &assembly);
    if (status != EXIT_STATUS_OK) return status;
    announce(assembly);
    skink__log_line(SKINK_LOG_INFO, "event=started version=%s pid=%d", skink_version(), (int)getpid());

    skink__reload_note_success();
    int signal_number = wait_for_stop(config, sources, assembly);
    skink__log_line(SKINK_LOG_INFO, "event=stopping signal=%s", signal_number ? sigabbrev_np(signal_number) : "none");
    skink__notify("STOPPING=1");
    skink__signals_arm_second(EXIT_STATUS_CUT);
    /* A Ctrl-C has no balancer in front of it. */
    if (!skink__assembly_stop(assembly, signal_number != SIGINT)) status = EXIT_STATUS_CUT;
    skink__notify_watchdog_stop();
    if (skink__signals_asked_status()) status = skink__signals_asked_status();
    bool clean = skink__assembly_destroy(assembly);
    skink__log_line(SKINK_LOG_INFO, "event=stopped status=%d", (int)status);
    skink__log_close();
    if (!clean) _exit(status);
    return status;
}

static int finish_check(const struct options *options)
{
    printf("%s: ok\n", options->file ? options->file : "configuration");
    return EXIT_STATUS_OK;
}

static int run(const struct options *options)
{
    struct config config;
    struct problems problems = { 0 };
    struct config_sources sources = { .file = options->file,
                                      .environment = (const char *const *)environ,
                                      .settings = options->settings,
                                      .setting_count = options->setting_count };
    skink__config_load(&config, &sources, &problems);
    skink__problems_print(&problems, stderr);
    int status = EXIT_STATUS_CONFIGURATION;
    if (problems.errors) {
        fprintf(stderr, "skinkd: %zu mistake%s in the configuration\n", problems.errors,
                problems.errors == 1 ? "" : "s");
    } else if (options->action == ACTION_CHECK) {
        status = finish_check(options);
    } else if (options->action == ACTION_PRINT) {
        skink__config_print(&config, stdout);
        status = EXIT_STATUS_OK;
    } else {
        status = serve(&config, &sources, options);
    }
    skink__problems_fini(&problems);
    skink__config_fini(&config);
    return status;
}

/* Whoever started us may have closed some of 0, 1 and 2. A descriptor of our own in their place would be written to as
 * if it were stderr: into a client's answer, or over the loop's wake-up. */
static void occupy_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}

/* What was asked for is not there: who redirects it into a file must not take that for a whole one. */
static int finish_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fprintf(stderr, "skinkd: cannot write to standard output: %s\n", strerror(errno));
    return status == EXIT_STATUS_OK ? EXIT_STATUS_CANNOT_START : status;
}

int main(int argc, char **argv)
{
    struct options options = { .action = ACTION_SERVE };
    occupy_standard_descriptors();
    options.settings = skink__app_alloc((size_t)argc * sizeof *options.settings);
    options.modules = skink__app_alloc((size_t)argc * sizeof *options.modules);
    int status = EXIT_STATUS_OK;
    if (!parse_options(argc, argv, &options)) {
        fputs("skinkd: see skinkd --help\n", stderr);
        status = EXIT_STATUS_CONFIGURATION;
    } else if (options.action == ACTION_HELP) {
        fputs(help_text, stdout);
    } else if (options.action == ACTION_VERSION) {
        printf("skinkd %s\n", skink_version());
    } else {
        status = run(&options);
    }
    if (options.action != ACTION_SERVE) status = finish_output(status);
    free(options.modules);
    free(options.settings);
    return status;
}
