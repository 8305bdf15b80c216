#!/bin/bash
# Runs a class of Kafka's jars; without KAFKA_HEAP_OPTS with a heap that fits a command-line tool.
exec /opt/java/bin/java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_OPTS:-} -XX:TieredStopAtLevel=${KAFKA_JIT_LEVEL:-4} \
  -Dorg.slf4j.simpleLogger.logFile="$([ -n "${KAFKA_LOG_LEVEL:-}" ] && echo System.out || echo System.err)" \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" \
  -Dorg.slf4j.simpleLogger.showDateTime=true '-Dorg.slf4j.simpleLogger.dateTimeFormat=[yyyy-MM-dd HH:mm:ss,SSS]' \
  -cp '/opt/kafka/libs/*' "$@"
