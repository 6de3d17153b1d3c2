# frozen_string_literal: true

# Another client of the same Redis: sends PING about every millisecond until its standard input closes, and
# reports how long the answers took. Nothing but a socket, so that it measures Redis and not itself.

require "json"
require "socket"

socket = TCPSocket.new("127.0.0.1", Integer(ARGV.first))
socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
stopped = false
Thread.new do
  $stdin.read
  stopped = true
end
GC.start
GC.disable
$stdout.sync = true
puts "ready"
waits = []
until stopped
  before = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  socket.write("PING\r\n")
  socket.readpartial(16)
  waits << ((Process.clock_gettime(Process::CLOCK_MONOTONIC) - before) * 1000)
  sleep 0.001
end
waits.sort!
puts JSON.generate(p99: waits[waits.size * 99 / 100], longest: waits.last)
