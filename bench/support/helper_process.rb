# frozen_string_literal: true

# A Ruby process of a benchmark that says "ready" and later reports one line of JSON.
class HelperProcess
  # @param script [String] file name in this directory
  def initialize(script, *args, env: {})
    root = SidekiqProcess::ROOT
    command = [RbConfig.ruby, "-I#{root}/lib", "-rbundler/setup", File.expand_path(script, __dir__), *args]
    @io = IO.popen([env, *command, { chdir: root }], "r+")
    raise "#{script} did not start" unless @io.gets == "ready\n"
  end

  # @return [String] the next line that the process prints
  def line
    @io.gets.chomp
  end

  # @return [void]
  def go
    @io.puts("go")
  end

  # Ends the standard input of the process and waits for its report.
  #
  # @return [Hash]
  def report
    @io.close_write
    line = @io.gets or raise "no report"
    JSON.parse(line)
  ensure
    @io.close
  end
end
