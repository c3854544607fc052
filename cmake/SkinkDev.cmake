# SPDX-License-Identifier: MIT
#
# skink_dev: what our own build wants and a user of the library must never inherit.
set(SKINK_SANITIZE "" CACHE STRING "Sanitizers of the build: empty, address (with undefined), or thread")
set_property(CACHE SKINK_SANITIZE PROPERTY STRINGS "" address thread)
option(SKINK_WERROR "Warnings are errors" OFF)
option(SKINK_HARDEN "Stack protector, full RELRO, PIE, and FORTIFY in optimised builds" ON)
option(SKINK_VALGRIND "Tell Valgrind where stacks are, and let it see each allocation (wants valgrind/valgrind.h)" OFF)
option(SKINK_FUZZ "Instrument for libFuzzer and build the fuzz targets (clang)" OFF)
option(SKINK_COVERAGE "Instrument for source coverage (clang)" OFF)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND PROJECT_IS_TOP_LEVEL)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    find_program(SKINK_CCACHE ccache)
    mark_as_advanced(SKINK_CCACHE)
    if(SKINK_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
        set(CMAKE_C_COMPILER_LAUNCHER "${SKINK_CCACHE}")
    endif()
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON) # the same objects go into the shared library
include(CheckPIESupported)
check_pie_supported(LANGUAGES C) # makes position-independent executables link as such

add_library(skink_dev INTERFACE)
target_compile_definitions(skink_dev INTERFACE _GNU_SOURCE)
target_compile_options(skink_dev INTERFACE $<$<COMPILE_LANGUAGE:C>:
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wundef
    -Wwrite-strings -Wformat=2 -Wvla -Wimplicit-fallthrough -Wno-missing-field-initializers
    $<$<BOOL:${SKINK_WERROR}>:-Werror>
    -fno-semantic-interposition -fno-common>)
# What loop/capability.h says of locks and of the runtime section is checked in our own code; tests and benchmarks reach
# into it from one thread, and hold nothing.
add_library(skink_thread_safety INTERFACE)
target_compile_options(skink_thread_safety INTERFACE $<$<C_COMPILER_ID:Clang,AppleClang>:-Wthread-safety>)
# A library with an undefined symbol is a fault of this build and not of the program that loads it. clang's sanitizer
# runtime is in the executable only, so there it cannot be asked for.
if(NOT SKINK_SANITIZE AND NOT SKINK_FUZZ)
    target_link_options(skink_dev INTERFACE -Wl,-z,defs)
endif()

if(SKINK_SANITIZE STREQUAL "address")
    set(skink_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=undefined)
elseif(SKINK_SANITIZE STREQUAL "thread")
    set(skink_sanitizers -fsanitize=thread)
elseif(SKINK_SANITIZE)
    message(FATAL_ERROR "SKINK_SANITIZE is '${SKINK_SANITIZE}'; it may be empty, address or thread")
endif()
if(SKINK_SANITIZE)
    target_compile_options(skink_dev INTERFACE ${skink_sanitizers} -fno-omit-frame-pointer)
    target_link_options(skink_dev INTERFACE ${skink_sanitizers})
endif()

if(SKINK_VALGRIND)
    target_compile_definitions(skink_dev INTERFACE SKINK_VALGRIND)
endif()

if(SKINK_FUZZ OR SKINK_COVERAGE)
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "SKINK_FUZZ and SKINK_COVERAGE need clang")
    endif()
endif()
if(SKINK_FUZZ)
    target_compile_options(skink_dev INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(SKINK_COVERAGE)
    target_compile_options(skink_dev INTERFACE -fprofile-instr-generate -fcoverage-mapping)
    target_link_options(skink_dev INTERFACE -fprofile-instr-generate)
endif()

if(SKINK_HARDEN)
    target_compile_options(skink_dev INTERFACE -fstack-protector-strong)
    target_link_options(skink_dev INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
    if(NOT SKINK_SANITIZE AND NOT SKINK_FUZZ) # the sanitizers check these calls themselves
        target_compile_options(skink_dev INTERFACE
            $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
    endif()
endif()
