# SPDX-License-Identifier: MIT
#
# skink_add_tests(NAME unit SOURCES file... [LAYER name] [LIBS lib...] [TIMEOUT seconds] [LABELS label...] [SERIAL])
#
# One executable for the unit, and one CTest entry <layer>/<unit>/<case> for each case, with a time limit of its own,
# so that a hung loop is one red line. The cases are read from the sources:
# each stands in the table of tests/support/case.h as
#     CASE(name)                     time limit of the unit: TIMEOUT, 20 s unless said
#     CASE_TIMEOUT(name, seconds)    one of its own
#     CASE_SERIAL(name, seconds)     and no other test runs beside it: for those that are a load, or do not bear one
#     CASE_TIMED(name, seconds)      the same where times are judged;
#                                    a sanitizer's build judges none, and runs others beside it
#     CASE_PLAIN(name, seconds)      left out of a sanitizer's build, which would see nothing more
# Those with a time limit of their own are begun first, so that what takes long is not alone in the end.
# A source that defines __wrap_NAME() at the beginning of a line, to make NAME() fail, gets all calls of NAME() in its
# program.
# LAYER is the folder's name unless said; SERIAL makes every case of the unit serial. Each test has the static library
# and the application's code (skink_app) linked, so internal functions can be called.
# A hang is found by a time limit, so these have room: for a machine that is busy with other things, and for sanitizers.
set(skink_test_slower 2)
if(SKINK_SANITIZE STREQUAL "address" OR SKINK_COVERAGE)
    set(skink_test_slower 4)
elseif(SKINK_SANITIZE STREQUAL "thread")
    set(skink_test_slower 6)
elseif(SKINK_VALGRIND OR CMAKE_CROSSCOMPILING_EMULATOR)
    set(skink_test_slower 10)
endif()

# What each test is started by. "Possibly lost" is what hangs on a thread that has not ended:
# strays are meant to live on.
set(skink_test_launcher ${CMAKE_CROSSCOMPILING_EMULATOR})
if(SKINK_VALGRIND)
    find_program(SKINK_VALGRIND_PROGRAM valgrind REQUIRED)
    set(skink_test_launcher "${SKINK_VALGRIND_PROGRAM}" --quiet --error-exitcode=99 --leak-check=full
                            --errors-for-leak-kinds=definite --show-leak-kinds=definite --max-stackframe=8000000)
endif()

set(skink_test_environment
    "ASAN_OPTIONS=halt_on_error=1:abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=0:allocator_may_return_null=1:exitcode=99"
    "UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1"
    "LSAN_OPTIONS=print_suppressions=0")
# Where threads outlive main(), ThreadSanitizer waits a second for races at the exit:
# in hundreds of cases that is most of the time.
set(skink_tsan_options "halt_on_error=1:second_deadlock_stack=1:exitcode=99:atexit_sleep_ms=20")
foreach(kind IN ITEMS tsan lsan)
    if(EXISTS "${PROJECT_SOURCE_DIR}/tests/support/${kind}.supp")
        if(kind STREQUAL "tsan")
            string(APPEND skink_tsan_options ":suppressions=${PROJECT_SOURCE_DIR}/tests/support/tsan.supp")
        else()
            list(TRANSFORM skink_test_environment REPLACE "^(LSAN_OPTIONS=.*)$"
                 "\\1:suppressions=${PROJECT_SOURCE_DIR}/tests/support/lsan.supp")
        endif()
    endif()
endforeach()
list(APPEND skink_test_environment "TSAN_OPTIONS=${skink_tsan_options}")

# A time limit in seconds, stretched for busy machines and the sanitizer in use.
function(skink_test_time_limit seconds ret_limit)
    math(EXPR limit "${seconds} * ${skink_test_slower}")
    set(${ret_limit} ${limit} PARENT_SCOPE)
endfunction()

function(skink_add_tests)
    cmake_parse_arguments(PARSE_ARGV 0 arg "SERIAL" "NAME;LAYER;TIMEOUT" "SOURCES;LIBS;LABELS")
    if(NOT arg_NAME OR NOT arg_SOURCES)
        message(FATAL_ERROR "skink_add_tests: NAME and SOURCES are needed")
    endif()
    if(NOT arg_LAYER)
        get_filename_component(arg_LAYER "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 20)
    endif()

    set(target test_${arg_LAYER}_${arg_NAME})
    add_executable(${target} ${arg_SOURCES})
    set(app "")
    if(TARGET skink_app)
        set(app skink_app)
    endif()
    set(json "")
    if(SKINK_JANSSON_FOUND)
        set(json PkgConfig::SKINK_JANSSON)
    endif()
    target_link_libraries(${target} PRIVATE ${arg_LIBS} skink_test_support skink_dev skink_headers skink_llhttp_headers
                                            ${app} skink::skink_static ${json} ${CMAKE_DL_LIBS})
    target_compile_definitions(${target} PRIVATE TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                 TEST_BINARY_DIR="${PROJECT_BINARY_DIR}")
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
    # Paths of what tests start or load; a test that uses one needs it built first.
    if(TARGET skinkd)
        target_compile_definitions(${target} PRIVATE TEST_SKINKD="$<TARGET_FILE:skinkd>")
        add_dependencies(${target} skinkd)
    endif()
    if(TARGET demo)
        target_compile_definitions(${target} PRIVATE TEST_DEMO_MODULE="$<TARGET_FILE:demo>"
                                                     TEST_TOUR_MODULE="$<TARGET_FILE:tour>")
        add_dependencies(${target} demo tour)
    endif()

    set(found FALSE)
    foreach(source IN LISTS arg_SOURCES)
        get_filename_component(source "${source}" ABSOLUTE)
        # A case that is added to the file must become a CTest entry without anybody thinking of it.
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
        file(STRINGS "${source}" wraps REGEX "^[a-z].*[ *]__wrap_[a-z0-9_]+\\(.*[^;]$")
        foreach(wrap IN LISTS wraps)
            string(REGEX REPLACE ".*__wrap_([a-z0-9_]+)\\(.*" "\\1" wrapped "${wrap}")
            target_link_options(${target} PRIVATE LINKER:--wrap=${wrapped})
        endforeach()
        file(STRINGS "${source}" lines REGEX "^[ \t]*CASE(_[A-Z]+)?\\(")
        # clang-format may put several into one line.
        string(REGEX MATCHALL "CASE(_[A-Z]+)?\\([^)]*\\)?" entries "${lines}")
        foreach(line IN LISTS entries)
            if(NOT line MATCHES "^CASE(_TIMEOUT|_SERIAL|_TIMED|_PLAIN)?\\(([a-zA-Z0-9_]+)(,[ ]*([0-9]+))?\\)")
                message(FATAL_ERROR "${source}: cannot read the case in '${line}'")
            endif()
            set(kind "${CMAKE_MATCH_1}")
            set(case "${CMAKE_MATCH_2}")
            set(seconds ${arg_TIMEOUT})
            set(cost 0)
            if(CMAKE_MATCH_4)
                set(seconds ${CMAKE_MATCH_4})
                set(cost ${seconds})
            endif()
            set(found TRUE)
            if(SKINK_SANITIZE AND kind STREQUAL "_PLAIN")
                continue()
            endif()
            skink_test_time_limit(${seconds} limit)
            set(test ${arg_LAYER}/${arg_NAME}/${case})
            add_test(NAME ${test} COMMAND ${skink_test_launcher} $<TARGET_FILE:${target}> ${case})
            set_tests_properties(${test} PROPERTIES TIMEOUT ${limit} SKIP_RETURN_CODE 77
                                                    ENVIRONMENT "${skink_test_environment}"
                                                    COST ${cost} LABELS "${arg_LAYER};${arg_LABELS}")
            if(kind STREQUAL "_SERIAL" OR arg_SERIAL OR (kind STREQUAL "_TIMED" AND NOT SKINK_SANITIZE))
                set_tests_properties(${test} PROPERTIES RUN_SERIAL TRUE)
            endif()
        endforeach()
    endforeach()
    if(NOT found)
        message(FATAL_ERROR "skink_add_tests: no CASE(...) in ${arg_SOURCES}")
    endif()
endfunction()
