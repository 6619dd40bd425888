/* main: arguments in, exit status out. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "weir/app.h"

static const char usage[] =
    "Weir: PostgreSQL connection proxy and result cache\n"
    "\n"
    "usage: weir [-d] [-q] [-v] [-u USER] FILE.ini\n"
    "       weir --check FILE.ini\n"
    "\n"
    "  -d, --daemon        run in the background (needs logfile or syslog)\n"
    "  -q, --quiet         write no log to stderr\n"
    "  -v, --verbose       log more; twice for every message\n"
    "  -u, --user USER     become this user (needed when started as root)\n"
    "  -c, --check         check the configuration and exit\n"
    "      --help-options  print every configuration key, one a line, fields parted by tabs\n"
    "  -V, --version       print the version and exit\n"
    "  -h, --help          print this and exit\n";

static int check(const char *path)
{
    struct error error = ERROR_INIT;
    struct config *config = app_load_config(path, NULL, &error);
    if (config == NULL)
        return EXIT_FAILURE;
    bool is_good = app_check_tls(config) && app_check_redis(config);
    app_forget_config(config);
    if (!is_good)
        return EXIT_FAILURE;
    printf("%s: the configuration is good\n", path);
    return EXIT_SUCCESS;
}

static int serve(const struct app_options *options)
{
    struct error error = ERROR_INIT;
    struct config *config = app_load_config(options->path, NULL, &error);
    if (config == NULL) {
        fprintf(stderr, "weir: cannot start: %s\n", error.message);
        return EXIT_FAILURE;
    }
    struct app *app = app_new(options, config, &error);
    if (app == NULL) {
        if (options->is_quiet)
            fprintf(stderr, "weir: cannot start: %s\n", error.message);
        return EXIT_FAILURE;
    }
    int status = app_run(app);
    app_free(app);
    return status;
}

int main(int argc, char **argv)
{
    struct app_options options = {0};
    bool is_check = false;
    enum { HELP_OPTIONS = 256 };
    const struct option names[] = {
        {"daemon", no_argument, NULL, 'd'},
        {"quiet", no_argument, NULL, 'q'},
        {"verbose", no_argument, NULL, 'v'},
        {"user", required_argument, NULL, 'u'},
        {"check", no_argument, NULL, 'c'},
        {"version", no_argument, NULL, 'V'},
        {"help-options", no_argument, NULL, HELP_OPTIONS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int choice;
    while ((choice = getopt_long(argc, argv, "dqvu:cVh", names, NULL)) != -1) {
        switch (choice) {
        case 'd':
            options.is_daemon = true;
            break;
        case 'q':
            options.is_quiet = true;
            break;
        case 'v':
            options.verbose++;
            break;
        case 'u':
            options.user = optarg;
            break;
        case 'c':
            is_check = true;
            break;
        case 'V':
            puts("Weir " WEIR_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        case HELP_OPTIONS:
            return app_print_options();
        default:
            fputs(usage, stderr);
            return EXIT_FAILURE;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "weir: %s\n\n%s",
                optind == argc ? "no configuration file given" : "too many arguments", usage);
        return EXIT_FAILURE;
    }
    options.path = argv[optind];
    return is_check ? check(options.path) : serve(&options);
}
