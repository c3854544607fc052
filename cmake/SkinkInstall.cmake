# SPDX-License-Identifier: MIT
#
# cmake --install: headers, both libraries, the CMake package, skink.pc, and what there is of the program.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/skink)

install(DIRECTORY include/skink DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS skink skink_static EXPORT skinkTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT skinkTargets NAMESPACE skink:: DESTINATION ${package_dir})

configure_package_config_file(cmake/skinkConfig.cmake.in "${PROJECT_BINARY_DIR}/skinkConfig.cmake"
                              INSTALL_DESTINATION ${package_dir})
# Until 1.0 every minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/skinkConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/skinkConfig.cmake" "${PROJECT_BINARY_DIR}/skinkConfigVersion.cmake"
        DESTINATION ${package_dir})

# Paths are relative to the .pc file's own place, so that an installed tree can be moved.
file(RELATIVE_PATH SKINK_PC_PREFIX "/p/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/p")
string(REGEX REPLACE "/$" "" SKINK_PC_PREFIX "${SKINK_PC_PREFIX}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(SKINK_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
    set(SKINK_PC_LIBDIR "${CMAKE_INSTALL_FULL_LIBDIR}")
    set(SKINK_PC_INCLUDEDIR "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
else()
    set(SKINK_PC_PREFIX "\${pcfiledir}/${SKINK_PC_PREFIX}")
    set(SKINK_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(SKINK_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
# Not as "Requires": with that, pkg-config --static asks for the libraries behind libdw,
# which a shared libdw brings itself.
set(SKINK_PC_LIBS_PRIVATE "-ldw -pthread")
if(SKINK_SWITCH_LIBRARY)
    string(APPEND SKINK_PC_LIBS_PRIVATE " -l${SKINK_SWITCH_LIBRARY}")
endif()
set(SKINK_PC_REQUIRES_PRIVATE "libuv, jansson")
if(SKINK_LLHTTP_LIBRARY)
    string(APPEND SKINK_PC_REQUIRES_PRIVATE ", libllhttp")
endif()
configure_file(cmake/skink.pc.in "${PROJECT_BINARY_DIR}/skink.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/skink.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET skinkd)
    set_target_properties(skinkd PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
    install(TARGETS skinkd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
if(SKINK_BUILD_SKINKD)
    install(FILES app/skinkd.yaml DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME skinkd.example.yaml)
    install(FILES docs/skinkd.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
    # The program's path is in the service, so it is made for this prefix.
    configure_file(app/systemd/skinkd.service.in "${PROJECT_BINARY_DIR}/systemd/skinkd.service" @ONLY)
    file(COPY app/systemd/skinkd.socket app/systemd/skinkd-stats.socket DESTINATION "${PROJECT_BINARY_DIR}/systemd")
    install(DIRECTORY "${PROJECT_BINARY_DIR}/systemd/" DESTINATION lib/systemd/system)
endif()
