# What is installed, and where: the programs, manual pages, documents, samples, and, where the program can speak with
# systemd, its unit, account and rotation of the log. With -DCMAKE_INSTALL_PREFIX=/usr the target `package` makes a Debian
# package of all that.
#
# The program goes to bin and not to sbin, where Debian has PgBouncer: `weir --check` is for everybody, and sbin is in
# nobody's PATH.
include(GNUInstallDirs)
set(WEIR_CONFIG_DIR ${CMAKE_INSTALL_FULL_SYSCONFDIR}/weir)
set(WEIR_MAINTAINER "The Weir authors <weir@localhost>" CACHE STRING "who answers for the Debian package")
set(made ${CMAKE_CURRENT_BINARY_DIR}/install)

install(TARGETS weir weirctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# ---- manual pages: the keys of weir.ini(5) are those of config/weir.ini ----
find_program(AWK NAMES awk mawk gawk REQUIRED)
find_program(GZIP gzip REQUIRED)
configure_file(docs/man/weir.1.in ${made}/weir.1 @ONLY)
configure_file(docs/man/weirctl.1.in ${made}/weirctl.1 @ONLY)
configure_file(docs/man/weir.ini.5.in ${made}/weir.ini.5.in @ONLY)
add_custom_command(OUTPUT ${made}/weir.1.gz ${made}/weirctl.1.gz ${made}/weir.ini.5.gz
    COMMAND ${AWK} -f ${CMAKE_CURRENT_SOURCE_DIR}/scripts/man-keys.awk ${CMAKE_CURRENT_SOURCE_DIR}/config/weir.ini
        ${made}/weir.ini.5.in > ${made}/weir.ini.5
    COMMAND ${GZIP} -9nkf ${made}/weir.1 ${made}/weirctl.1 ${made}/weir.ini.5
    DEPENDS config/weir.ini scripts/man-keys.awk ${made}/weir.1 ${made}/weirctl.1 ${made}/weir.ini.5.in
    VERBATIM)
add_custom_target(manual ALL DEPENDS ${made}/weir.1.gz ${made}/weirctl.1.gz ${made}/weir.ini.5.gz)
install(FILES ${made}/weir.1.gz ${made}/weirctl.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${made}/weir.ini.5.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)

# ---- documents and samples ----
file(GLOB documents CONFIGURE_DEPENDS docs/*.md)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${documents} DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs)
install(FILES config/weir.ini config/weir-minimal.ini config/userlist.txt DESTINATION ${CMAKE_INSTALL_DOCDIR}/config)

# ---- the configuration: the sample with the places of an installed system ----
# replace OLD NEW: OLD must be there, so that a change of the sample is not missed here.
file(READ config/weir.ini sample)
function(replace old new)
    string(FIND "${sample}" "${old}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "config/weir.ini no longer has \"${old}\", which config/install.cmake replaces")
    endif()
    string(REPLACE "${old}" "${new}" sample "${sample}")
    set(sample "${sample}" PARENT_SCOPE)
endfunction()
replace("Start: weir config/weir.ini     Check: weir --check config/weir.ini"
        "Start: systemctl start weir     Check: weir --check ${WEIR_CONFIG_DIR}/weir.ini")
replace("\nauth_file = config/userlist.txt\n" "\nauth_file = ${WEIR_CONFIG_DIR}/userlist.txt\n")
replace("\n;unix_socket_dir = /tmp\n" "\n;unix_socket_dir = /tmp\nunix_socket_dir = /run/weir\n")
replace("\n;logfile =\n" "\n;logfile =\nlogfile = /var/log/weir/weir.log\n")
# Whoever is on the machine could read there what is asked of the databases.
replace("\nhttp_port = 6433\n" "\n;http_port = 6433\n")
file(GENERATE OUTPUT ${made}/weir.ini CONTENT "${sample}")

# What an administrator has written is never written over. The package's files are the package manager's to compare.
install(CODE "
    set(folder \"\$ENV{DESTDIR}${WEIR_CONFIG_DIR}\")
    if(NOT EXISTS \"\${folder}\")
        file(MAKE_DIRECTORY \"\${folder}\")
        execute_process(COMMAND chmod 0750 \"\${folder}\")
    endif()
    foreach(file \"${made}/weir.ini\" \"${CMAKE_CURRENT_SOURCE_DIR}/config/system/userlist.txt\")
        get_filename_component(name \"\${file}\" NAME)
        if(EXISTS \"\${folder}/\${name}\")
            message(STATUS \"Left as it is: \${folder}/\${name}\")
        else()
            file(INSTALL \"\${file}\" DESTINATION \"${WEIR_CONFIG_DIR}\" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ)
        endif()
    endforeach()")

if(NOT SYSTEMD_FOUND)
    message(STATUS "without libsystemd no unit is installed: it would wait in vain to be told that Weir is ready")
    return()
endif()
configure_file(config/system/weir.service.in ${made}/weir.service @ONLY)
install(FILES ${made}/weir.service DESTINATION lib/systemd/system)
install(FILES config/system/sysusers.conf DESTINATION lib/sysusers.d RENAME weir.conf)
install(FILES config/system/logrotate DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/logrotate.d RENAME weir)

# ---- the Debian package ----
if(NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr" OR NOT EXISTS /etc/debian_version)
    return()
endif()
file(READ LICENSE licence)
string(REGEX REPLACE "^.*\n(Permission is )" "\\1" licence "${licence}")
string(REGEX REPLACE "\n+$" "" licence "${licence}")
string(REPLACE "\n\n" "\n.\n" licence "${licence}")
string(REPLACE "\n" "\n " WEIR_LICENCE " ${licence}")
configure_file(config/debian/copyright.in ${made}/copyright @ONLY)
install(FILES ${made}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "${WEIR_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "connection proxy and result cache for PostgreSQL")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "Weir stands between applications and PostgreSQL, where PgBouncer would stand,
and reads the same configuration, users file, console commands and signals. It
lets thousands of mostly idle connections share a few server connections,
carries each session's settings and prepared statements along, and answers
repeated reads from a result cache where it is asked to.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, logrotate")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "postgresql-client, redis-server")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(scripts ${CMAKE_CURRENT_SOURCE_DIR}/config/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA "${scripts}/postinst;${scripts}/prerm;${scripts}/postrm;${scripts}/conffiles")
include(CPack)
