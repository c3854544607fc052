# SPDX-License-Identifier: MIT
# skink_glob_sources(<target>): every .c file of the current folder but the switch backends, which are chosen by hand.
function(skink_glob_sources target)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
    list(FILTER sources EXCLUDE REGEX "/switch_[a-z0-9_]+\\.c$|/main\\.c$")
    target_sources(${target} PRIVATE ${sources})
endfunction()
