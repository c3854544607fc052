# SPDX-License-Identifier: MIT
#
# libuv, elfutils (names for the addresses in stacks), jansson (JSON) and threads, which every user of the library needs
# too, and the HTTP parser, which stays inside.
find_package(PkgConfig REQUIRED)
pkg_check_modules(SKINK_UV REQUIRED IMPORTED_TARGET libuv>=1.42)
pkg_check_modules(SKINK_DW REQUIRED IMPORTED_TARGET libdw>=0.170)
pkg_check_modules(SKINK_JANSSON REQUIRED IMPORTED_TARGET jansson>=2.8)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# llhttp must be strict: the lenient one accepts what lets two servers read one request in two ways. Up to version 8
# that is decided when it is compiled, and a library in the system does not say how it was; so its sources, as Debian
# ships them, come first. From version 9 on there is nothing but strict unless a program asks,
# so there a library will do.
set(SKINK_LLHTTP_SOURCE_DIR /usr/share/llhttp CACHE PATH "Directory of llhttp's api.c, http.c and llhttp.c")
set(SKINK_LLHTTP_INCLUDE_DIR /usr/share/include/llhttp CACHE PATH "Directory of llhttp.h")
add_library(skink_llhttp_headers INTERFACE)
set(SKINK_LLHTTP_OBJECTS "")
set(SKINK_LLHTTP_LIBRARY "")
if(EXISTS "${SKINK_LLHTTP_SOURCE_DIR}/llhttp.c" AND EXISTS "${SKINK_LLHTTP_INCLUDE_DIR}/llhttp.h")
    target_include_directories(skink_llhttp_headers SYSTEM INTERFACE "${SKINK_LLHTTP_INCLUDE_DIR}")
    target_compile_definitions(skink_llhttp_headers INTERFACE LLHTTP_STRICT_MODE=1)
    add_library(skink_llhttp OBJECT "${SKINK_LLHTTP_SOURCE_DIR}/api.c" "${SKINK_LLHTTP_SOURCE_DIR}/http.c"
                                    "${SKINK_LLHTTP_SOURCE_DIR}/llhttp.c")
    target_link_libraries(skink_llhttp PRIVATE skink_llhttp_headers skink_dev)
    # Generated code of somebody else's, and large: no warnings, and optimised in every build.
    target_compile_options(skink_llhttp PRIVATE -w -O2)
    set(SKINK_LLHTTP_OBJECTS $<TARGET_OBJECTS:skink_llhttp>)
else()
    pkg_check_modules(SKINK_LLHTTP IMPORTED_TARGET libllhttp>=9)
    if(NOT SKINK_LLHTTP_FOUND)
        message(FATAL_ERROR "llhttp not found: neither its sources (${SKINK_LLHTTP_SOURCE_DIR}; Debian: node-llhttp) "
                            "nor a libllhttp of version 9 or later")
    endif()
    target_link_libraries(skink_llhttp_headers INTERFACE PkgConfig::SKINK_LLHTTP)
    set(SKINK_LLHTTP_LIBRARY PkgConfig::SKINK_LLHTTP)
endif()
