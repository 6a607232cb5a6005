Feature: Files cross from a server to a client

  Background:
    Given a server and a client with the example configurations

  Scenario: A file crosses
    When file 1 is written with "hello"
    Then within 60 seconds file 1 has been moved with "hello"
    And within 60 seconds the client has published file 1
    And within 60 seconds the journal of the server has file 1 as acknowledged
    And within 60 seconds the journal of the client has file 1 as published
    And the trace of file 1 at the server tells announced, moving, moved, acknowledged
    And the trace of file 1 at the client tells announced, requested, moved, publishing, published

  Scenario: A file is sent again with a new content
    When file 1 is written with "first"
    Then within 60 seconds file 1 has been moved with "first"
    When file 1 is written with "second, and longer"
    Then within 60 seconds file 1 has been moved with "second, and longer"

  Scenario: Many files cross at once
    When files 1 to 200 are written
    Then within 60 seconds files 1 to 200 have been moved
    And within 60 seconds files 1 to 200 are published in the journal of the client
    And within 60 seconds the status says "acknowledged 200"

  Scenario: A program that is asked to stop ends well
    When the client is asked to stop
    Then it ended with status 0
    When the server is asked to stop
    Then it ended with status 0
    And within 60 seconds the status says "server.journal (not running)"
