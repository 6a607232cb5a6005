Feature: Configurations change, and mistakes are explained

  Background:
    Given a server and a client with the example configurations

  Scenario: A reload adds a section
    When a section is added to both configurations
    Then within 60 seconds the log of the server says "[more] watches"
    And within 60 seconds the log of the client says "[more] listens to"
    When the file "new.txt" of the new section is written with "more"
    Then within 60 seconds "new.txt" has been moved with "more"
    When file 1 is written with "as before"
    Then within 60 seconds file 1 has been moved with "as before"

  Scenario: A broken configuration changes nothing
    When a line without meaning is added to the configuration of the server
    And the server gets SIGHUP
    Then within 60 seconds the log of the server says "everything goes on as before"
    When file 1 is written with "as before"
    Then within 60 seconds file 1 has been moved with "as before"

  Scenario: A refused destination names the option to set
    When the client is told that "destination" is "sftp://in@192.0.2.7/data/in/"
    Then within 60 seconds the log of the client says "reloading"
    When file 1 is written with "for nobody"
    Then within 60 seconds the log of the client says "allowed_destinations = sftp://192.0.2.7/data/in/*"
    And within 60 seconds the status says "add to section [example] of the server allowed_destinations = sftp://192.0.2.7/data/in/*"
    And within 60 seconds the journal of the client has file 1 as failed

  Scenario: The status tells who runs and what was done
    When files 1 to 3 are written
    Then within 60 seconds files 1 to 3 have been moved
    And within 60 seconds the status says "[example]  acknowledged 3"
    And within 60 seconds the status says "[example]  published 3"
    And within 60 seconds the status says "client.journal (running)"
    When the client is killed
    Then within 60 seconds the status says "client.journal (not running)"
    And within 60 seconds the status says "[example]  published 3"
