# frozen_string_literal: true

# What happened to jobs and processes: one line for each event, appended to one file by all processes, so that no
# fault of Redis or of a process takes the evidence with it. Lines stand in the order in which they were written.
#
# Jobs write `started`, then `raised` or `finished`. Who pushes them writes `offered` before and `accepted` after Redis
# has said yes. Who injects a fault writes `struck` and `healed`, with whom it strikes as the subject.
class History
  # Whom a fault strikes, where it is no single process: everybody, because Redis lost what it had acknowledged.
  EVERYBODY = "everybody"
  # Redis is away or refuses, and has lost nothing: no reason for any job to run twice.
  NOBODY = "nobody"

  # @!attribute at
  #   @return [Float] seconds on the machine's monotonic clock
  # @!attribute process
  #   @return [String] who wrote it; the name of the fault for `struck` and `healed`
  # @!attribute kind
  #   @return [Symbol]
  # @!attribute subject
  #   @return [String] id of the job, or whom a fault strikes
  Event = Struct.new(:at, :process, :kind, :subject)

  # @return [History] of the process that the environment names
  def self.here
    @here ||= new(ENV.fetch("FAULTS_HISTORY"), ENV.fetch("FAULTS_PROCESS"))
  end

  # @return [String]
  attr_reader :path

  # @param path [String]
  # @param process [String] name of the writing process
  def initialize(path, process)
    @path = path
    @process = process
    @file = File.open(path, File::WRONLY | File::APPEND | File::CREAT)
  end

  # @param kind [Symbol]
  # @param subject [Object]
  # @param process [String] without spaces
  # @return [void]
  def write(kind, subject, process = @process)
    # One system call: lines of several processes do not mix.
    @file.syswrite("#{now} #{process} #{kind} #{subject}\n")
  end

  # @return [Array<Event>]
  def events
    # A line that is being written may be seen in part.
    File.readlines(path).select { |line| line.end_with?("\n") }.map do |line|
      at, process, kind, subject = line.chomp.split(" ", 4)
      Event.new(at.to_f, process, kind.to_sym, subject)
    end
  end

  # @param kind [Symbol]
  # @param process [String, nil] any, if nil
  # @return [Array<String>] subjects, each as often as it occurs
  def subjects(kind, process = nil)
    events.select { |event| event.kind == kind && (process.nil? || event.process == process) }.map(&:subject)
  end

  # @return [void]
  def close
    @file.close
  end

  private

  def now
    format("%.6f", Process.clock_gettime(Process::CLOCK_MONOTONIC))
  end
end
