# The tests of scripts/test that are no C programs: layers, format, recorded exchanges, fuzz targets, ThreadSanitizer.

function(photon_gate name)
  cmake_parse_arguments(A "SERIAL;MAY_SKIP" "TIMEOUT" "COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${A_COMMAND} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(A_MAY_SKIP) # exit status 77; a fuzzer's finding is 77 too, so never for all
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
  endif()
  if(A_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT})
  endif()
  if(A_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

photon_gate(layers/includes COMMAND ${CMAKE_SOURCE_DIR}/tools/layers)
photon_gate(layers/self-test COMMAND ${CMAKE_SOURCE_DIR}/tools/layers --self-test)
photon_gate(format COMMAND ${CMAKE_SOURCE_DIR}/scripts/format --check)
photon_gate(conformance COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/conformance/run.py $<TARGET_FILE:photondb> TIMEOUT 600 MAY_SKIP)

# One ctest entry per fuzz target: a minute for those that read what strangers send and for the log, 20 seconds for the
# others. FUZZ_SECONDS in the environment lengthens them, FUZZ_SEED varies them: the gate itself takes the same walk
# each time, new ground is for runs by hand.
set(fuzz_a_minute frame json query text wal wire worker)
file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/*_fuzz.c)
foreach(source ${fuzzers})
  get_filename_component(fuzzer ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" fuzzer ${fuzzer})
  set(seconds 20)
  if(fuzzer IN_LIST fuzz_a_minute)
    set(seconds 60)
  endif()
  photon_gate(fuzz/${fuzzer} COMMAND bash -c "FUZZ_NO_BUILD=1 FUZZ_SEED=\${FUZZ_SEED:-1} exec scripts/fuzz ${fuzzer} \${FUZZ_SECONDS:-${seconds}}" TIMEOUT 4000)
endforeach()

# The unit tests that use threads, once more under ThreadSanitizer.
photon_gate(tsan/unit COMMAND ctest --test-dir ${CMAKE_SOURCE_DIR}/build/tsan -L threads --output-on-failure --no-tests=error
            TIMEOUT 1800)
