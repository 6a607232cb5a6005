Feature: Nothing is lost when a process is killed

  Background:
    Given a server and a client with the example configurations

  Scenario: The server is killed and started again
    When the server is killed
    And files 1 to 20 are written
    And the server is started again
    Then within 60 seconds files 1 to 20 have been moved

  Scenario: The client is absent while files come
    When the client is killed
    And files 1 to 50 are written
    And the client is started again
    Then within 60 seconds files 1 to 50 have been moved
    And within 60 seconds files 1 to 50 are published in the journal of the client

  Scenario: The client is killed while files come
    When files 1 to 100 are written
    And the client is killed
    And the client is started again
    Then within 60 seconds files 1 to 100 have been moved
    And within 60 seconds files 1 to 100 are published in the journal of the client

  Scenario: A hot spare leaves to the primary what it does, and takes over when it is killed
    Given a hot spare of the client that waits 1 second
    When file 1 is written with "for the primary"
    Then within 60 seconds the client has published file 1
    And within 60 seconds the journal of the spare has file 1 as covered
    When the client is killed
    And file 2 is written with "for the spare"
    Then within 60 seconds file 2 has been moved with "for the spare"
    And within 60 seconds the spare has published file 2
